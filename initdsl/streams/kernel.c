/* Stream v1 on a CPU, in one pass over the memory. docs/streams.md defines every bit of it.
 *
 * Three things keep the bits those of torch's operations (`values.py`): words are integer arithmetic; every
 * floating-point step is one rounding of + - * / or sqrt, so this file is compiled without contraction
 * (-ffp-contract=off) and without fast-math; what needs more than that comes in from Python (`struct truncation`).
 *
 * It keeps no state, allocates nothing and can't fail: `native.py` checks what it passes. Little-endian machines only.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "compiler.h"

/* ------------------------------------------------------------------------------- what Python hands over (native.py) */

enum kind { AFFINE, CHOICE, LINES, SEGMENTS, QUANTILE };
enum dtype { FLOAT32, FLOAT64, BFLOAT16, FLOAT16 };

/* A standard normal cut to an interval, seen from its upper tail: made from `quantile.truncation` by
 * `native._truncation`. */
struct truncation {
    double survival, log, drop, remainder;
    int64_t mirrored, cut; /* `cut` is 0 where both bounds are infinite */
};

/* One distribution for one dtype. Which fields count depends on `kind`. */
struct recipe {
    int64_t kind, dtype;
    double scale, shift; /* AFFINE: step and middle; else scale and location */
    double low, high;    /* bounds; CHOICE: the two values */
    int64_t last;        /* CHOICE: `high` in lanes up to this one */
    const void *table;   /* LINES: float pairs, scaled; SEGMENTS: double pairs of the standard distribution */
    struct truncation truncation; /* QUANTILE */
};

/* Where the words of a stream begin, those of float64's low halves, and their step: `keys.StreamKey`. */
struct key {
    uint64_t state, fine, gamma;
};

/* ------------------------------------------------------------------------------------------------- words and lanes */

#define BLOCK 256 /* elements: what a block needs, and what it writes, stays in the first-level cache */

INLINE uint64_t mixed(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* `multiples` are 0, gamma, 2 gamma and so on: a sum is cheaper than a product. */
INLINE void words(uint64_t *out, int64_t count, uint64_t start, const uint64_t *multiples) {
    for (int64_t i = 0; i < count; i++)
        out[i] = mixed(start + multiples[i]);
}

INLINE int32_t lane_at(uint64_t place, uint64_t state, uint64_t gamma) {
    return (int32_t)(uint32_t)(mixed(state + (place >> 1) * gamma) >> 32 * (place & 1));
}

/* Return the lanes of `count` elements that are `step` apart; they are in `block`, which has room for BLOCK + 2.
 * `multiples` is read where `step` is 1. */
INLINE const int32_t *lanes(uint64_t *block, int64_t count, uint64_t place, uint64_t step, uint64_t state,
                            uint64_t gamma, const uint64_t *multiples) {
    int32_t *lane = (int32_t *)block;
    if (step == 1) {
        words(block, (count + 1 + (int64_t)(place & 1)) >> 1, state + (place >> 1) * gamma, multiples);
        return lane + (place & 1);
    }
    for (int64_t i = 0; i < count; i++)
        lane[i] = lane_at(place + (uint64_t)i * step, state, gamma);
    return lane;
}

/* ------------------------------------------------------------- the quantile of the normal distribution, in float64 */

/* Wichura 1988, algorithm AS 241 (PPND16): numerators and denominators, lowest degree first. */
static const double CENTRAL[2][8] = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3}};
static const double TAIL[2][8] = {
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9}};
static const double FAR_TAIL[2][8] = {
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15}};

static double ratio(double x, const double coefficients[2][8]) {
    double above = coefficients[0][7], below = coefficients[1][7];
    for (int i = 6; i >= 0; i--) {
        above = above * x + coefficients[0][i];
        below = below * x + coefficients[1][i];
    }
    return above / below;
}

/* The natural logarithm of a positive, normal number, from + - * / alone. */
static double logarithm(double x) {
    uint64_t bits, mantissa_bits;
    double mantissa, s, square, series = 2.0 / 19, power;
    memcpy(&bits, &x, 8);
    mantissa_bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&mantissa, &mantissa_bits, 8);
    power = (double)((int64_t)(bits >> 52) - 1023);
    if (mantissa > 1.4142135623730951) {
        mantissa *= 0.5;
        power += 1;
    }
    s = (mantissa - 1.0) / (mantissa + 1.0);
    square = s * s;
    for (int n = 17; n > 0; n -= 2)
        series = series * square + 2.0 / n;
    return power * 0.693147180369123816490 + (s * series + power * 1.90821492927058770002e-10);
}

/* What a standard normal exceeds with the given probability; `log` is minus the probability's logarithm. */
static double from_survival(double survival, double log) {
    double q = 0.5 - survival, r, tail;
    int mirrored = survival > 0.5;
    if (fabs(q) <= 0.425)
        return q * ratio(0.180625 - q * q, CENTRAL);
    if (mirrored) { /* the lower tail is the near one, and its logarithm has to be taken anew */
        double rest = 1.0 - survival;
        log = -logarithm(rest < 1e-300 ? 1e-300 : rest);
    }
    r = sqrt(log < 0.0 ? 0.0 : log);
    tail = r <= 5.0 ? ratio(r - 1.6, TAIL) : ratio(r - 5.0, FAR_TAIL);
    return mirrored ? -tail : tail;
}

/* The value at a signed fraction of the mass: counted from the lower bound where positive, from the upper where not. */
static double quantile(double position, const struct truncation *t) {
    int lower = position > 0;
    double near = fabs(position), kept, z;
    if (!t->cut) {
        z = from_survival(near, -logarithm(near));
        return lower ? -z : z;
    }
    if (t->mirrored)
        lower = !lower;
    kept = lower ? 1.0 - near * t->drop : t->remainder + near * t->drop;
    z = from_survival(kept * t->survival, t->log - logarithm(kept));
    return t->mirrored ? -z : z;
}

/* ---------------------------------------------------------------------------- the quantile as straight segments */

/* As `lines.py` has them: a position's segment is its exponent and the first 9 bits of its mantissa; here the segments
 * of positive positions come first, then those of negative ones. */
#define DROP 14
#define FIRST (126 << 9)
#define SEGMENTS_A_SIGN ((32 << 9) + 1)

INLINE uint32_t segment_of(float position) {
    uint32_t bits;
    memcpy(&bits, &position, 4);
    return ((bits & 0x7FFFFFFF) >> DROP) - FIRST + (bits >> 31) * SEGMENTS_A_SIGN;
}

EXPORT int64_t initdsl_segment_count(void) { return 2 * SEGMENTS_A_SIGN; }

/* The segments of the positive positions, or of the negative ones. */
static void half(double (*out)[2], double sign, const struct truncation *t) {
    double x0 = 0, y0 = 0;
    for (uint32_t i = 0; i < SEGMENTS_A_SIGN; i++) {
        uint32_t bits = (FIRST + i) << DROP;
        float start;
        double x, y;
        memcpy(&start, &bits, 4);
        x = start * sign;
        y = quantile(x * 0x1p-32, t);
        if (i) {
            double slope = (y - y0) / (x - x0);
            out[i - 1][1] = slope;
            out[i - 1][0] = y0 - slope * x0;
        }
        x0 = x, y0 = y;
    }
    out[SEGMENTS_A_SIGN - 1][0] = y0; /* the median, reached by rounding: a single point */
    out[SEGMENTS_A_SIGN - 1][1] = 0.0;
}

/* Write intercept and slope of every segment of a standard distribution: `initdsl_segment_count()` pairs. */
EXPORT void initdsl_segments(double (*out)[2], const struct truncation *t) {
    double(*other)[2] = out + SEGMENTS_A_SIGN;
    half(out, 1.0, t);
    if (t->cut) {
        half(other, -1.0, t);
        return;
    }
    for (int i = 0; i < SEGMENTS_A_SIGN; i++) { /* what is not cut is symmetric, and the quantile takes its time */
        other[i][0] = -out[i][0];
        other[i][1] = out[i][1];
    }
}

/* Write the segments of a distribution: scaled, located, and rounded to float32. */
EXPORT void initdsl_scaled(float (*out)[2], const double (*segments)[2], double scale, double shift) {
    for (int i = 0; i < 2 * SEGMENTS_A_SIGN; i++) {
        out[i][0] = (float)(segments[i][0] * scale + shift);
        out[i][1] = (float)(segments[i][1] * scale);
    }
}

/* ------------------------------------------------------------------------------------------------ lanes to values */

INLINE float within(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

INLINE void affine(float *out, const int32_t *lane, int64_t count, const struct recipe *r) {
    const float step = (float)r->scale, middle = (float)r->shift, low = (float)r->low, high = (float)r->high;
    for (int64_t i = 0; i < count; i++)
        out[i] = within((float)lane[i] * step + middle, low, high);
}

INLINE void choice(float *out, const int32_t *lane, int64_t count, const struct recipe *r) {
    const float low = (float)r->low, high = (float)r->high;
    const int32_t last = r->last < INT32_MIN ? INT32_MIN : (int32_t)r->last;
    const int any = r->last >= INT32_MIN;
    for (int64_t i = 0; i < count; i++)
        out[i] = (lane[i] <= last) & any ? high : low;
}

/* By loops of one kind each: the compiler makes vectors of all but the look-up. */
INLINE void find(float *position, uint32_t *segment, const int32_t *lane, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        position[i] = (float)lane[i] + 0.5f;
        segment[i] = segment_of(position[i]);
    }
}

#if defined(__SSE2__)
INLINE __m128 pairs(const float *first, const float *second) {
    return _mm_castpd_ps(_mm_loadh_pd(_mm_load_sd((const double *)first), (const double *)second));
}

/* The values at four positions, from the intercepts and slopes of the first two and of the others. */
INLINE void store_lines(float *out, const float *position, __m128 a, __m128 b) {
    const __m128 product = _mm_mul_ps(_mm_loadu_ps(position), _mm_shuffle_ps(a, b, 0xDD));
    _mm_storeu_ps(out, _mm_add_ps(product, _mm_shuffle_ps(a, b, 0x88)));
}
#endif

INLINE void lines(float *out, const int32_t *lane, int64_t count, const struct recipe *r) {
    const float(*table)[2] = r->table;
    float position[BLOCK];
    uint32_t segment[BLOCK];
    find(position, segment, lane, count);
    int64_t i = 0;
#if defined(__SSE2__)
    for (; i + 4 <= count; i += 4) /* a pair is one load */
        store_lines(out + i, position + i, pairs(table[segment[i]], table[segment[i + 1]]),
                    pairs(table[segment[i + 2]], table[segment[i + 3]]));
#endif
    for (; i < count; i++)
        out[i] = position[i] * table[segment[i]][1] + table[segment[i]][0];
}

/* As `lines`, with only those segments scaled that an element needs: cheaper for few elements. */
INLINE void segments(float *out, const int32_t *lane, int64_t count, const struct recipe *r) {
    const double(*table)[2] = r->table;
    float position[BLOCK];
    uint32_t segment[BLOCK];
    find(position, segment, lane, count);
    int64_t i = 0;
#if defined(__SSE2__)
    const __m128d scale = _mm_set1_pd(r->scale), shift = _mm_set_pd(-0.0, r->shift); /* -0.0 is added to slopes */
    for (; i + 4 <= count; i += 4) {
        __m128 pair[4];
        for (int k = 0; k < 4; k++)
            pair[k] = _mm_cvtpd_ps(_mm_add_pd(_mm_mul_pd(_mm_loadu_pd(table[segment[i + k]]), scale), shift));
        store_lines(out + i, position + i, _mm_movelh_ps(pair[0], pair[1]), _mm_movelh_ps(pair[2], pair[3]));
    }
#endif
    for (; i < count; i++) {
        const double *line = table[segment[i]];
        out[i] = position[i] * (float)(line[1] * r->scale) + (float)(line[0] * r->scale + r->shift);
    }
}

INLINE void bounded(float *out, int64_t count, const struct recipe *r) {
    const float low = (float)r->low, high = (float)r->high;
    if (r->low == -INFINITY && r->high == INFINITY)
        return;
    for (int64_t i = 0; i < count; i++)
        out[i] = within(out[i], low, high);
}

/* A compiler drops this switch where `kind` is a constant. */
INLINE void values(float *out, const int32_t *lane, int64_t count, const struct recipe *r) {
    switch (r->kind) {
    case AFFINE:
        affine(out, lane, count, r);
        return;
    case CHOICE:
        choice(out, lane, count, r);
        return;
    case LINES:
        lines(out, lane, count, r);
        break;
    default:
        segments(out, lane, count, r);
    }
    bounded(out, count, r);
}

static void values64(double *out, const int32_t *coarse, const int32_t *fine, int64_t count, const struct recipe *r) {
    const int unbounded = r->low == -INFINITY && r->high == INFINITY;
    for (int64_t i = 0; i < count; i++) {
        int64_t lane = (int64_t)((uint64_t)(uint32_t)coarse[i] << 32 | (uint32_t)fine[i]);
        double x;
        if (r->kind == CHOICE) {
            out[i] = coarse[i] <= r->last ? r->high : r->low;
            continue;
        }
        if (r->kind == AFFINE)
            x = (double)lane * r->scale + r->shift;
        else
            x = quantile(((double)lane + 0.5) * 0x1p-64, &r->truncation) * r->scale + r->shift;
        if (!unbounded) {
            x = x < r->low ? r->low : x;
            x = x > r->high ? r->high : x;
        }
        out[i] = x;
    }
}

/* ------------------------------------------------------------------------------- float32 to the nearest half number */

INLINE void to_bfloat16(uint16_t *out, const float *in, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, 4);
        out[i] = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}

/* Finite numbers only: what is too large becomes infinite, as everywhere. Signed integers: they compare in vectors. */
INLINE void to_float16(uint16_t *out, const float *in, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int32_t bits, size, normal, small;
        float shifted;
        memcpy(&bits, in + i, 4);
        size = bits & 0x7FFFFFFF;
        normal = (size - (112 << 23) + 0xFFF + (size >> 13 & 1)) >> 13;
        normal = normal > 0x7C00 ? 0x7C00 : normal;
        memcpy(&shifted, &size, 4); /* below 2^-14: adding 0.5 leaves multiples of 2^-24 in the last bits */
        shifted += 0.5f;
        memcpy(&small, &shifted, 4);
        small -= 0x3F000000;
        out[i] = (uint16_t)((bits >> 16 & 0x8000) | (size < 113 << 23 ? small : normal));
    }
}

/* -------------------------------------------------------------------------------------------------------- filling */

static const int64_t SIZES[] = {4, 8, 2, 2};

/* Fill `count` elements, `step` places apart. */
INLINE void run(char *out, int64_t count, uint64_t place, uint64_t step, const struct key *key,
                const struct recipe *r) {
    uint64_t block[BLOCK / 2 + 1], other[BLOCK / 2 + 1], multiples[BLOCK / 2 + 1];
    float single[BLOCK];
    if (step == 1)
        for (int64_t i = 0; i <= (count < BLOCK ? count : BLOCK) / 2; i++)
            multiples[i] = (uint64_t)i * key->gamma;
    while (count > 0) {
        int64_t now = count < BLOCK ? count : BLOCK, size = now * SIZES[r->dtype];
        const int32_t *lane, *fine;
        if (count > BLOCK) /* memory is fetched while the lanes are computed */
            for (int64_t i = 0; i < size; i += 64)
                SOON_WRITTEN(out + i);
        lane = lanes(block, now, place, step, key->state, key->gamma, multiples);
        switch (r->dtype) {
        case FLOAT32:
            values((float *)out, lane, now, r);
            break;
        case FLOAT64:
            fine = lanes(other, now, place, step, key->fine, key->gamma, multiples);
            values64((double *)out, lane, fine, now, r);
            break;
        case BFLOAT16:
            values(single, lane, now, r);
            to_bfloat16((uint16_t *)out, single, now);
            break;
        default:
            values(single, lane, now, r);
            to_float16((uint16_t *)out, single, now);
        }
        out += size;
        place += (uint64_t)now * step;
        count -= now;
    }
}

/* Fill an array of `dims` dimensions, contiguous in memory, whose elements are `steps` apart in the stream. */
INLINE void nested(char *out, int64_t dims, const int64_t *lengths, const int64_t *steps, uint64_t place,
                   const struct key *key, const struct recipe *r) {
    int64_t at[64] = {0};
    const int64_t last = dims - 1, size = lengths[last] * SIZES[r->dtype];
    for (;;) {
        int64_t d = last - 1;
        run(out, lengths[last], place, (uint64_t)steps[last], key, r);
        out += size;
        while (d >= 0 && ++at[d] == lengths[d]) {
            place -= (uint64_t)(lengths[d] - 1) * (uint64_t)steps[d];
            at[d--] = 0;
        }
        if (d < 0)
            return;
        place += (uint64_t)steps[d];
    }
}

typedef void filler(char *, int64_t, const int64_t *, const int64_t *, uint64_t, const struct key *,
                    const struct recipe *);

static void fill_baseline(char *out, int64_t dims, const int64_t *lengths, const int64_t *steps, uint64_t place,
                          const struct key *key, const struct recipe *r) {
    nested(out, dims, lengths, steps, place, key, r);
}

/* The same once more with wider vectors, chosen when it runs: a wheel must run on every machine of its kind. */
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
__attribute__((target("avx2"))) static void fill_avx2(char *out, int64_t dims, const int64_t *lengths,
                                                      const int64_t *steps, uint64_t place, const struct key *key,
                                                      const struct recipe *r) {
    nested(out, dims, lengths, steps, place, key, r);
}
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw"))) static void
fill_avx512(char *out, int64_t dims, const int64_t *lengths, const int64_t *steps, uint64_t place,
            const struct key *key, const struct recipe *r) {
    nested(out, dims, lengths, steps, place, key, r);
}

static filler *chosen(void) {
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return fill_avx512;
    return __builtin_cpu_supports("avx2") ? fill_avx2 : fill_baseline;
}
#else
static filler *chosen(void) { return fill_baseline; }
#endif

/* What to fill, and from where in which stream: one argument in place of seven, which ctypes would convert one by one. */
struct order {
    uint64_t out; /* an address */
    int64_t count;
    uint64_t place;
    struct key key;
    uint64_t recipe; /* an address */
};

/* Write a recipe's values into contiguous memory; the first element has the place `place` in the stream. `packed` is a
 * `struct order`, at any address. */
EXPORT void initdsl_fill(const void *packed) {
    struct order o;
    const int64_t step = 1;
    memcpy(&o, packed, sizeof o);
    if (o.count > 0)
        chosen()((char *)(uintptr_t)o.out, 1, &o.count, &step, o.place, &o.key,
                 (const struct recipe *)(uintptr_t)o.recipe);
}

/* The same for places that are steps apart, of 1 to 64 dimensions, none of length 0. */
EXPORT void initdsl_fill_places(char *out, int64_t dims, const int64_t *lengths, const int64_t *steps, uint64_t place,
                                uint64_t state, uint64_t fine, uint64_t gamma, const struct recipe *r) {
    const struct key key = {state, fine, gamma};
    chosen()(out, dims, lengths, steps, place, &key, r);
}

/* Fill `count` arrays, each whole and contiguous in memory, from the beginning of a stream of its own. */
EXPORT void initdsl_fill_each(int64_t count, char *const *out, const int64_t *lengths, const struct key *keys,
                              const struct recipe *r) {
    filler *fill = chosen();
    const int64_t step = 1;
    for (int64_t i = 0; i < count; i++)
        if (lengths[i] > 0)
            fill(out[i], 1, lengths + i, &step, 0, keys + i, r);
}

/* The instructions that are used on this processor. */
EXPORT const char *initdsl_kernel_vectors(void) {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    return chosen() == fill_avx512 ? "avx512" : chosen() == fill_avx2 ? "avx2" : "sse2";
#else
    return "baseline";
#endif
}
