// Prepended to every program.
//
// STORAGE: element type in memory. COMPUTE: type of arithmetic. The backend defines both, and
// HALF_STORAGE where STORAGE is half but arithmetic is not (then memory goes through
// vload_half/vstore_half_rte, which need no cl_khr_fp16).
// Tensors are passed as (__global buffer, long start): `start` counts elements from the buffer.

#ifdef USE_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif
#ifdef USE_FP64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#ifdef HALF_STORAGE
#define LOAD(p, i) vload_half((size_t)(i), (p))
#define STORE(p, i, v) vstore_half_rte((v), (size_t)(i), (p))
#define LOAD16(p) vload_half16(0, (p))
#define STORE16(p, v) vstore_half16_rte((v), 0, (p))
#else
#define LOAD(p, i) ((COMPUTE)((p)[(i)]))
#define STORE(p, i, v) ((p)[(i)] = (STORAGE)(v))
#define LOAD16(p) vload16(0, (p))
#define STORE16(p, v) vstore16((v), 0, (p))
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define COMPUTE16 CAT(COMPUTE, 16)

#if defined(QUIRK_POW_OF_WIDE_DOUBLES) && defined(USE_FP64)
// See quirks.py: pow of vectors of eight and more is taken four by four.
__attribute__((overloadable)) inline double pow_by_fours(const double a, const double b) {
  return pow(a, b);
}
__attribute__((overloadable)) inline double16 pow_by_fours(const double16 a, const double16 b) {
  return (double16)(pow(a.s0123, b.s0123), pow(a.s4567, b.s4567), pow(a.s89ab, b.s89ab),
                    pow(a.scdef, b.scdef));
}
#define POW(a, b) pow_by_fours(a, b)
#else
#define POW(a, b) pow(a, b)
#endif

typedef union { long8 v; long a[8]; } dims_t;

// Offset of row `row` of a tensor whose outer axes have extents `shape` and strides `strides`;
// `rank` outer axes, row-major over them.
inline long row_offset(long row, const int rank, const dims_t shape, const dims_t strides) {
  long offset = 0;
  for (int d = rank - 1; d >= 0; --d) {
    const long n = shape.a[d];
    const long q = row / n;
    offset += (row - q * n) * strides.a[d];
    row = q;
  }
  return offset;
}

#ifdef ELEMENT
// For kernels that move elements of any type as unsigned integers of their size. Vectors are
// explicit because Intel's CPU compiler leaves the plain loops scalar.
#define ELEMENT16 CAT(ELEMENT, 16)

inline void copy_run(__global ELEMENT *to, __global const ELEMENT *from, const long n) {
  long i = 0;
  for (; i + 16 <= n; i += 16) vstore16(vload16(0, from + i), 0, to + i);
  for (; i < n; ++i) to[i] = from[i];
}

inline void fill_run(__global ELEMENT *to, const ELEMENT value, const long n) {
  long i = 0;
  for (; i + 16 <= n; i += 16) vstore16((ELEMENT16)(value), 0, to + i);
  for (; i < n; ++i) to[i] = value;
}
#endif
