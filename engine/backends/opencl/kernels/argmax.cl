// y = index of the extreme along the middle axis of an outer x n x inner array, row-major; int64.
//
// Work-item (g0, g1) owns the columns [g0 * COLUMNS, (g0 + 1) * COLUMNS) of outer indices
// [g1 * block, (g1 + 1) * block). last: the last of equal extremes instead of the first. NaN is more
// extreme than any number. The running extremes of up to COLUMNS columns are kept in registers or L1.
//
// ..._rows: inner is 1; work-item g owns the rows [g * block, (g + 1) * block): first the extreme,
// sixteen lanes at a time, then the index where it stands.

#define COLUMNS 64

#ifdef IS_INTEGER
#define ISNAN(v) 0
#define TAKE(v, op, a) ((v)op(a))
#else
#define ISNAN(v) isnan(v)
#define TAKE(v, op, a) (((v)op(a)) | isnan(v))
#endif

#define ARG_EXTREME(NAME, OP)                                                                   \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global long *y,           \
                     const long y_start, const long outer, const long n, const long inner,      \
                     const long block, const int last) {                                        \
    const long c0 = get_global_id(0) * COLUMNS, first = get_global_id(1) * block;               \
    const int w = (int)min((long)COLUMNS, inner - c0);                                          \
    const long end = min(outer, first + block);                                                 \
    COMPUTE best[COLUMNS];                                                                      \
    long at[COLUMNS];                                                                           \
    for (long o = first; o < end; ++o) {                                                        \
      __global const STORAGE *p = x + x_start + o * n * inner + c0;                             \
      for (int j = 0; j < w; ++j) {                                                             \
        best[j] = LOAD(p, j);                                                                   \
        at[j] = 0;                                                                              \
      }                                                                                         \
      for (long k = 1; k < n; ++k)                                                              \
        for (int j = 0; j < w; ++j) {                                                           \
          const COMPUTE v = LOAD(p + k * inner, j), b = best[j];                                \
          const int more = v OP b || (ISNAN(v) && !ISNAN(b));                                   \
          const int tied = v == b || (ISNAN(v) && ISNAN(b));                                    \
          if (more || (last && tied)) {                                                         \
            best[j] = v;                                                                        \
            at[j] = k;                                                                          \
          }                                                                                     \
        }                                                                                       \
      for (int j = 0; j < w; ++j) y[y_start + o * inner + c0 + j] = at[j];                      \
    }                                                                                           \
  }                                                                                             \
  __kernel void NAME##_rows(__global const STORAGE *x, const long x_start, __global long *y,    \
                            const long y_start, const long rows, const long n,                  \
                            const long block, const int last) {                                 \
    const long first = get_global_id(0) * block, end = min(rows, first + block);                \
    for (long row = first; row < end; ++row) {                                                  \
      __global const STORAGE *p = x + x_start + row * n;                                        \
      COMPUTE best = LOAD(p, 0);                                                                \
      long i = 0;                                                                               \
      if (n >= 16) {                                                                            \
        COMPUTE16 wide = LOAD16(p);                                                             \
        for (i = 16; i + 16 <= n; i += 16) {                                                    \
          const COMPUTE16 v = LOAD16(p + i);                                                    \
          wide = TAKE(v, OP, wide) ? v : wide;                                                  \
        }                                                                                       \
        COMPUTE lanes[16];                                                                      \
        vstore16(wide, 0, lanes);                                                               \
        for (int l = 0; l < 16; ++l) best = TAKE(lanes[l], OP, best) ? lanes[l] : best;         \
      }                                                                                         \
      for (; i < n; ++i) {                                                                      \
        const COMPUTE v = LOAD(p, i);                                                           \
        best = TAKE(v, OP, best) ? v : best;                                                    \
      }                                                                                         \
      long at = last ? n - 1 : 0;                                                               \
      const long step = last ? -1 : 1;                                                          \
      for (; at >= 0 && at < n; at += step) {                                                   \
        const COMPUTE v = LOAD(p, at);                                                          \
        if (v == best || (ISNAN(v) && ISNAN(best))) break;                                      \
      }                                                                                         \
      y[y_start + row] = at;                                                                    \
    }                                                                                           \
  }

ARG_EXTREME(ArgMax, >)
ARG_EXTREME(ArgMin, <)
