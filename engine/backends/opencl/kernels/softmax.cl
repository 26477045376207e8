// y = softmax or log(softmax) along the middle axis of an outer x n x inner array, row-major.
//
// Softmax, LogSoftmax: inner is 1; work-item g owns the rows [g * block, (g + 1) * block). Three
// passes over a row: maximum; sum of exp(v - maximum) in sixteen interleaved accumulators and one for
// the last n % 16 elements; result. The exponentials are kept in y between the last two where memory
// holds the arithmetic's type, and computed again where it is narrower.
// ..._columns: inner > 1; work-item (g0, g1) owns the columns [g0 * COLUMNS, (g0 + 1) * COLUMNS) of
// outer index g1, and sums element by element. y is not x. No barrier, no local memory.

#ifndef HALF_STORAGE
#define KEEPS
#endif
#define COLUMNS 128
#define ZERO ((COMPUTE)0)
// NaN stays: no comparison with it succeeds.
#define LARGER(a, v) ((((v) > (a)) | isnan(v)) ? (v) : (a))

inline COMPUTE largest(__global const STORAGE *x, const long n) {
  COMPUTE16 wide = (COMPUTE16)(-(COMPUTE)INFINITY);
  COMPUTE m = -(COMPUTE)INFINITY;
  long i = 0;
  for (; i + 16 <= n; i += 16) {
    const COMPUTE16 v = LOAD16(x + i);
    wide = LARGER(wide, v);
  }
  for (; i < n; ++i) {
    const COMPUTE v = LOAD(x, i);
    m = LARGER(m, v);
  }
  COMPUTE lanes[16];
  vstore16(wide, 0, lanes);
  for (int l = 0; l < 16; ++l) m = LARGER(m, lanes[l]);
  return m;
}

inline COMPUTE sum_of_lanes(const COMPUTE16 wide) {
  const CAT(COMPUTE, 8) a8 = wide.lo + wide.hi;
  const CAT(COMPUTE, 4) a4 = a8.lo + a8.hi;
  const CAT(COMPUTE, 2) a2 = a4.lo + a4.hi;
  return a2.x + a2.y;
}

// keep: leave the exponentials in y.
inline COMPUTE sum_exp(__global const STORAGE *x, __global STORAGE *y, const long n,
                       const COMPUTE m, const int keep) {
  COMPUTE16 wide = (COMPUTE16)(ZERO);
  COMPUTE s = ZERO;
  long i = 0;
  for (; i + 16 <= n; i += 16) {
    const COMPUTE16 e = exp(LOAD16(x + i) - m);
    if (keep) STORE16(y + i, e);
    wide += e;
  }
  for (; i < n; ++i) {
    const COMPUTE e = exp(LOAD(x, i) - m);
    if (keep) STORE(y, i, e);
    s += e;
  }
  return sum_of_lanes(wide) + s;
}

__kernel void Softmax(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                      const long y_start, const long rows, const long n, const long block) {
  const long first = get_global_id(0) * block, end = min(rows, first + block);
  for (long row = first; row < end; ++row) {
    __global const STORAGE *p = x + x_start + row * n;
    __global STORAGE *q = y + y_start + row * n;
    const COMPUTE m = largest(p, n);
    long i = 0;
#ifdef KEEPS
    const COMPUTE s = sum_exp(p, q, n, m, 1);
    for (; i + 16 <= n; i += 16) STORE16(q + i, LOAD16(q + i) / s);
    for (; i < n; ++i) STORE(q, i, LOAD(q, i) / s);
#else
    const COMPUTE s = sum_exp(p, q, n, m, 0);
    for (; i + 16 <= n; i += 16) STORE16(q + i, exp(LOAD16(p + i) - m) / s);
    for (; i < n; ++i) STORE(q, i, exp(LOAD(p, i) - m) / s);
#endif
  }
}

__kernel void LogSoftmax(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                         const long y_start, const long rows, const long n, const long block) {
  const long first = get_global_id(0) * block, end = min(rows, first + block);
  for (long row = first; row < end; ++row) {
    __global const STORAGE *p = x + x_start + row * n;
    __global STORAGE *q = y + y_start + row * n;
    const COMPUTE m = largest(p, n);
    const COMPUTE l = log(sum_exp(p, q, n, m, 0));
    long i = 0;
    for (; i + 16 <= n; i += 16) STORE16(q + i, (LOAD16(p + i) - m) - l);
    for (; i < n; ++i) STORE(q, i, (LOAD(p, i) - m) - l);
  }
}

#define SOFTMAX_COLUMNS(NAME, PREPARE, RESULT)                                                \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *y,      \
                     const long y_start, const long n, const long inner) {                    \
    const long c0 = get_global_id(0) * COLUMNS;                                               \
    const int w = (int)min((long)COLUMNS, inner - c0);                                        \
    const int wide = w & ~15;                                                                 \
    COMPUTE m[COLUMNS], s[COLUMNS];                                                           \
    x += x_start + get_global_id(1) * n * inner + c0;                                         \
    y += y_start + get_global_id(1) * n * inner + c0;                                         \
    for (int j = 0; j < w; ++j) m[j] = -(COMPUTE)INFINITY;                                    \
    for (int j = 0; j < w; ++j) s[j] = ZERO;                                                  \
    for (long k = 0; k < n; ++k) {                                                            \
      for (int j = 0; j < wide; j += 16) {                                                    \
        const COMPUTE16 v = LOAD16(x + k * inner + j), a = vload16(0, m + j);                 \
        vstore16(LARGER(a, v), 0, m + j);                                                     \
      }                                                                                       \
      for (int j = wide; j < w; ++j) {                                                        \
        const COMPUTE v = LOAD(x + k * inner, j), a = m[j];                                   \
        m[j] = LARGER(a, v);                                                                  \
      }                                                                                       \
    }                                                                                         \
    for (long k = 0; k < n; ++k) {                                                            \
      for (int j = 0; j < wide; j += 16) {                                                    \
        const COMPUTE16 e = exp(LOAD16(x + k * inner + j) - vload16(0, m + j));               \
        vstore16(vload16(0, s + j) + e, 0, s + j);                                            \
      }                                                                                       \
      for (int j = wide; j < w; ++j) s[j] += exp(LOAD(x + k * inner, j) - m[j]);              \
    }                                                                                         \
    for (int j = 0; j < w; ++j) s[j] = PREPARE(s[j]);                                         \
    for (long k = 0; k < n; ++k) {                                                            \
      for (int j = 0; j < wide; j += 16) {                                                    \
        const COMPUTE16 d = LOAD16(x + k * inner + j) - vload16(0, m + j);                    \
        const COMPUTE16 t = vload16(0, s + j);                                                \
        STORE16(y + k * inner + j, RESULT);                                                   \
      }                                                                                       \
      for (int j = wide; j < w; ++j) {                                                        \
        const COMPUTE d = LOAD(x + k * inner, j) - m[j], t = s[j];                            \
        STORE(y + k * inner, j, RESULT);                                                      \
      }                                                                                       \
    }                                                                                         \
  }
#define SAME(s) (s)
SOFTMAX_COLUMNS(Softmax_columns, SAME, exp(d) / t)
SOFTMAX_COLUMNS(LogSoftmax_columns, log, d - t)
