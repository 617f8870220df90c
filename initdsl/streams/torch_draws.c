/* The numbers that torch draws from its generator on a CPU, and the state it leaves, in vectors: `torch_draws.py`.
 *
 * Words are those of MT19937 (Matsumoto & Nishimura 1998), whose state torch keeps. A uniform takes 24 bits of a word. A
 * normal is that of Box & Muller (1958), with the logarithm, sine and cosine of Cephes (Moshier) for single precision. The
 * bits are torch's only if each step rounds as torch's does: products and sums that its compiler joins are `fused` here,
 * all others are not (-ffp-contract=off).
 *
 * It keeps no state of its own, allocates nothing and can't fail: `torch_draws.py` checks what it passes.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compiler.h"
#define fused(a, b, c) fmaf(a, b, c)

/* -------------------------------------------------------------------------------------------- torch's generator */

#define WORDS 624
#define MIDDLE 397

/* How `torch.Generator.get_state` of a CPU begins. `left - 1` words are left, from the one numbered `next` on. */
struct state {
    uint64_t seed;
    int32_t left, seeded;
    uint64_t next, word[WORDS];
};

struct twister {
    uint32_t word[WORDS];
    int64_t left, next;
};

static void of_state(struct twister *t, const struct state *state) {
    t->left = state->left;
    t->next = (int64_t)state->next;
    for (int i = 0; i < WORDS; i++)
        t->word[i] = (uint32_t)state->word[i];
}

static void to_state(const struct twister *t, struct state *state) {
    state->left = (int32_t)t->left;
    state->next = (uint64_t)t->next;
    for (int i = 0; i < WORDS; i++)
        state->word[i] = t->word[i];
}

INLINE uint32_t twisted(uint32_t u, uint32_t v) {
    return ((u & 0x80000000u) | (v & 0x7FFFFFFFu)) >> 1 ^ ((0u - (v & 1)) & 0x9908B0DFu);
}

INLINE void renew(uint32_t *word) {
    for (int i = 0; i < WORDS - MIDDLE; i++)
        word[i] = word[i + MIDDLE] ^ twisted(word[i], word[i + 1]);
    for (int i = WORDS - MIDDLE; i < WORDS - 1; i++)
        word[i] = word[i + MIDDLE - WORDS] ^ twisted(word[i], word[i + 1]);
    word[WORDS - 1] = word[MIDDLE - 1] ^ twisted(word[WORDS - 1], word[0]);
}

INLINE uint32_t tempered(uint32_t y) {
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    return y ^ y >> 18;
}

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

INLINE float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

#define AHEAD (2 * WORDS) /* elements whose memory is fetched before they are written */

/* Draw uniforms in [low, high); `low` stands for what rounds to `high`, unless that may be drawn too. */
INLINE void uniform(float *out, int64_t count, float low, float high, int with_high, struct twister *t) {
    const float width = high - low;
    const uint32_t never = with_high ? 0x7FC00000u : bits_of(high);
    while (count > 0) {
        if (t->left == 1) {
            renew(t->word);
            t->left = WORDS + 1;
            t->next = 0;
        }
        const int64_t now = count < t->left - 1 ? count : t->left - 1;
        const uint32_t *word = t->word + t->next;
        for (int64_t i = AHEAD; i < AHEAD + now && i < count; i += 16) /* a line of the cache */
            SOON_WRITTEN(out + i);
        for (int64_t i = 0; i < now; i++) {
            const float x = fused((float)(int32_t)(tempered(word[i]) & 0xFFFFFF) * 0x1p-24f, width, low);
            out[i] = bits_of(x) == never ? low : x;
        }
        t->next += now;
        t->left -= now;
        out += now;
        count -= now;
    }
}

/* ------------------------------------------------------------------------------------------------------- normals */

/* The natural logarithm of a number from 2^-24 to 1. Compared as integers: the compiler makes no vectors of comparisons
 * of floating-point numbers, which may raise a flag. */
INLINE float logarithm(float x) {
    const float mantissa = of_bits((bits_of(x) & 0x007FFFFFu) | 0x3F000000u);
    const uint32_t small = 0u - (uint32_t)((int32_t)bits_of(mantissa) < 0x3F3504F3); /* the root of a half */
    const float power = (float)((int32_t)(bits_of(x) >> 23) - 127) + 1.0f - of_bits(small & 0x3F800000u);
    const float z = mantissa - 1.0f + of_bits(small & bits_of(mantissa)), square = z * z;
    float y = 7.0376836292e-2f;
    y = fused(y, z, -1.1514610310e-1f);
    y = fused(y, z, 1.1676998740e-1f);
    y = fused(y, z, -1.2420140846e-1f);
    y = fused(y, z, 1.4249322787e-1f);
    y = fused(y, z, -1.6668057665e-1f);
    y = fused(y, z, 2.0000714765e-1f);
    y = fused(y, z, -2.4999993993e-1f);
    y = fused(y, z, 3.3333331174e-1f);
    y = fused(y * z, square, power * -2.12194440e-4f);
    y = fused(-square, 0.5f, y);
    return fused(power, 0.693359375f, z + y);
}

/* Make two normals of two uniforms in [0, 1). */
INLINE void box_muller(float *first, float *second, float mean, float std) {
    const float radius = sqrtf(-2.0f * logarithm(1.0f - *first)), angle = 6.2831853071795864769f * *second;
    const int32_t octant = ((int32_t)(angle * 1.27323954473516f) + 1) & ~1; /* angle * 4 / pi, made even */
    const uint32_t swap = 0u - (uint32_t)((octant & 2) == 0);
    float x = angle, cosine = 2.443315711809948e-5f, sine = -1.9515295891e-4f;
    x = fused((float)octant, -0.78515625f, x);
    x = fused((float)octant, -2.4187564849853515625e-4f, x);
    x = fused((float)octant, -3.77489497744594108e-8f, x);
    const float square = x * x;
    cosine = fused(cosine, square, -1.388731625493765e-3f);
    cosine = fused(cosine, square, 4.166664568298827e-2f);
    cosine = fused(cosine * square, square, -(square * 0.5f)) + 1.0f;
    sine = fused(sine, square, 8.3321608736e-3f);
    sine = fused(sine, square, -1.6666654611e-1f);
    sine = fused(sine * square, x, x);
    const uint32_t a = bits_of(cosine), b = bits_of(sine);
    const float s = of_bits(((swap & b) | (~swap & a)) ^ ((uint32_t)(octant & 4) << 29));
    const float c = of_bits(((swap & a) | (~swap & b)) ^ ((~(uint32_t)(octant - 2) & 4u) << 29));
    *first = fused(radius * c, std, mean);
    *second = fused(radius * s, std, mean);
}

#define GROUP 16 /* torch takes the first 8 of so many uniforms for radii, the others for angles */
#define GROUPS 64

/* Make normals of uniforms in [0, 1), whole groups. */
INLINE void normal(float *out, int64_t groups, float mean, float std) {
    float radii[GROUPS * GROUP / 2], angles[GROUPS * GROUP / 2];
    const size_t half = sizeof(float) * GROUP / 2;
    while (groups > 0) {
        const int64_t now = groups < GROUPS ? groups : GROUPS;
        for (int64_t i = 0; i < now; i++) {
            memcpy(radii + i * GROUP / 2, out + i * GROUP, half);
            memcpy(angles + i * GROUP / 2, out + i * GROUP + GROUP / 2, half);
        }
        for (int64_t i = 0; i < now * GROUP / 2; i++)
            box_muller(radii + i, angles + i, mean, std);
        for (int64_t i = 0; i < now; i++) {
            memcpy(out + i * GROUP, radii + i * GROUP / 2, half);
            memcpy(out + i * GROUP + GROUP / 2, angles + i * GROUP / 2, half);
        }
        out += now * GROUP;
        groups -= now;
    }
}

/* ------------------------------------------------------------------------------------------------------- filling */

/* What a call does: uniforms from `a` to `b`, in older versions of torch with `b`; normals of mean `a` and standard
 * deviation `b`; or such normals from the uniforms that are there. */
enum kind { UNIFORM, UNIFORM_WITH_HIGH, NORMAL, NORMAL_OF_UNIFORMS };

INLINE void draw(int64_t kind, float *out, int64_t count, float a, float b, struct twister *t) {
    const int64_t part = 1 << 13; /* stays in the first-level cache */
    if (kind == UNIFORM || kind == UNIFORM_WITH_HIGH) {
        uniform(out, count, a, b, kind == UNIFORM_WITH_HIGH, t);
        return;
    }
    if (kind == NORMAL_OF_UNIFORMS) {
        normal(out, count / GROUP, a, b);
        return;
    }
    for (int64_t i = 0; i < count; i += part) {
        const int64_t now = count - i < part ? count - i : part;
        uniform(out + i, now, 0.0f, 1.0f, 1, t);
        normal(out + i, now / GROUP, a, b);
    }
    if (count % GROUP) { /* the last ones are drawn anew */
        uniform(out + count - GROUP, GROUP, 0.0f, 1.0f, 1, t);
        normal(out + count - GROUP, 1, a, b);
    }
}

typedef void drawer(int64_t, float *, int64_t, float, float, struct twister *);

/* torch has vectors of its own for these instructions alone, and joins products and sums where there are such. */
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
__attribute__((target("avx2,fma"))) static void draw_avx2(int64_t kind, float *out, int64_t count, float a, float b,
                                                          struct twister *t) {
    draw(kind, out, count, a, b, t);
}
__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma"))) static void
draw_avx512(int64_t kind, float *out, int64_t count, float a, float b, struct twister *t) {
    draw(kind, out, count, a, b, t);
}

static drawer *chosen(void) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return draw_avx512;
    return draw_avx2;
}
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
static void draw_baseline(int64_t kind, float *out, int64_t count, float a, float b, struct twister *t) {
    draw(kind, out, count, a, b, t);
}
static drawer *chosen(void) { return draw_baseline; }
#else
static drawer *chosen(void) { return 0; }
#endif

/* Whether this processor joins a product and a sum in one instruction; nothing else here may be called where it does not. */
EXPORT int64_t initdsl_draws_as_torch(void) { return chosen() != 0; }

/* Draw `count` arrays of floats, one after the other; of normals each has 16 elements at least. There need be no state for
 * normals from uniforms. */
EXPORT void initdsl_torch_draws(int64_t kind, int64_t count, float *const *out, const int64_t *lengths, float a, float b,
                                struct state *state) {
    drawer *draw_one = chosen();
    struct twister t;
    if (state)
        of_state(&t, state);
    for (int64_t i = 0; i < count; i++)
        draw_one(kind, out[i], lengths[i], a, b, &t);
    if (state)
        to_state(&t, state);
}
