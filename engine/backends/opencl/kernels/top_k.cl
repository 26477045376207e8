// values, indices = the k first of each line of n along the middle axis of an outer x n x inner
// array, row-major, in order; of equal elements the first. NaN is larger than any number.
//
// Work-item g owns the lines [g * block, (g + 1) * block). Each element is inserted among those
// kept so far, which lie in the outputs already. No local memory, no barrier.

#ifdef IS_INTEGER
#define ISNAN(v) 0
#else
#define ISNAN(v) isnan(v)
#endif
#define LARGER(a, b) ((a) > (b) || (ISNAN(a) && !ISNAN(b)))
#define SMALLER(a, b) ((a) < (b) || (!ISNAN(a) && ISNAN(b)))

#define TOP_K(NAME, BEFORE)                                                                    \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *values,  \
                     const long values_start, __global long *indices, const long indices_start, \
                     const long lines, const long n, const long inner, const long k,           \
                     const long block) {                                                       \
    const long first = get_global_id(0) * block, end = min(lines, first + block);              \
    if (k == 0) return;                                                                        \
    for (long line = first; line < end; ++line) {                                              \
      const long o = line / inner, i = line % inner;                                           \
      __global const STORAGE *p = x + x_start + o * n * inner + i;                             \
      __global STORAGE *v = values + values_start + o * k * inner + i;                         \
      __global long *at = indices + indices_start + o * k * inner + i;                         \
      long kept = 0;                                                                           \
      for (long j = 0; j < n; ++j) {                                                           \
        const COMPUTE c = LOAD(p, j * inner);                                                  \
        if (kept == k && !BEFORE(c, LOAD(v, (k - 1) * inner))) continue;                       \
        long s = kept < k ? kept++ : k - 1;                                                    \
        for (; s > 0 && BEFORE(c, LOAD(v, (s - 1) * inner)); --s) {                            \
          STORE(v, s * inner, LOAD(v, (s - 1) * inner));                                       \
          at[s * inner] = at[(s - 1) * inner];                                                 \
        }                                                                                      \
        STORE(v, s * inner, c);                                                                \
        at[s * inner] = j;                                                                     \
      }                                                                                        \
    }                                                                                          \
  }

TOP_K(Largest, LARGER)
TOP_K(Smallest, SMALLER)
