/* What the C files ask of a compiler, on every system. */
#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif
#if defined(__GNUC__)
#define SOON_WRITTEN(address) __builtin_prefetch(address, 1)
#else
#define SOON_WRITTEN(address) ((void)0)
#endif
