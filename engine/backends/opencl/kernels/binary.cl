// y = f(a, b) with broadcasting.
//
// The host sorts the axes by the strides of y (which is dense) and collapses them, so y is an array
// of `rows` x `inner`, row-major. a and b have one stride per outer axis and a step on the inner
// axis. Work-item (g0, g1) owns elements [g0 * chunk, (g0 + 1) * chunk) of the rows
// [g1 * block, (g1 + 1) * block). No local memory, no barrier. y may be a or b.
//
// p_count, q_count: read by Mean only. IS_PREDICATE: y is uchar 0/1. ONLY_WHERE: just Where.
// B_STORAGE (and B_HALF): the type of b where it is not STORAGE. WHOLE_POWERS_IN: b is integer, a is
// not, and powers are computed in that type.

#ifndef B_STORAGE
#define B_STORAGE STORAGE
#define LOAD_B(p, i) LOAD(p, i)
#elif defined(B_HALF)
#define B_DIFFERS
#define LOAD_B(p, i) ((COMPUTE)vload_half((size_t)(i), (p)))
#else
#define B_DIFFERS
#define LOAD_B(p, i) ((EXPONENT)((p)[(i)]))
#endif
// An integer exponent may be wider than its base.
#if defined(B_DIFFERS) && (defined(IS_INTEGER) || defined(WHOLE_POWERS_IN))
#define EXPONENT B_STORAGE
#else
#define EXPONENT COMPUTE
#endif

#ifdef IS_PREDICATE
#define OUT_STORAGE uchar
#define OUT_STORE(p, i, v) ((p)[(i)] = (v) ? 1 : 0)
#define OUT_STORE16(p, v) vstore16(convert_uchar16(-(v)), 0, (p))
#else
#define OUT_STORAGE STORAGE
#define OUT_STORE(p, i, v) STORE(p, i, v)
#define OUT_STORE16(p, v) STORE16(p, v)
#endif

#define ZERO ((T)0)
#define ONE ((T)1)

#define EACH(FROM, A, B, EXPRESSION)          \
  for (int i = FROM; i < n; ++i) {            \
    typedef COMPUTE T;                        \
    const COMPUTE p = LOAD(pa, A);            \
    const EXPONENT q = LOAD_B(pb, B);         \
    OUT_STORE(py, i, EXPRESSION);             \
  }
// Sixteen elements at a time where steps are 1 or 0 (half loads vectorise only when written so).
#define WIDE(A, B, EXPRESSION)                \
  for (int i = 0; i < (n & ~15); i += 16) {   \
    typedef COMPUTE16 T;                      \
    const COMPUTE16 p = A, q = B;             \
    OUT_STORE16(py + i, EXPRESSION);          \
  }
#define NARROW(A, B, EXPRESSION)
#ifdef B_DIFFERS
#define VECTORS NARROW
#define DONE 0
#else
#define VECTORS WIDE
#define DONE (n & ~15)
#endif
// FORM: VECTORS where the expression holds for vectors (`?:` selects by element), else NARROW.
#define BINARY(NAME, EXPRESSION) BINARY_AS(NAME, EXPRESSION, VECTORS, DONE)
#define SCALAR(NAME, EXPRESSION) BINARY_AS(NAME, EXPRESSION, NARROW, 0)

#define BINARY_AS(NAME, EXPRESSION, FORM, FROM)                                               \
  __kernel void NAME(__global const STORAGE *a, const long a_start,                           \
                     __global const B_STORAGE *b, const long b_start,                         \
                     __global OUT_STORAGE *y, const long y_start, const int rank,             \
                     const dims_t shape, const dims_t a_strides, const dims_t b_strides,      \
                     const long a_step, const long b_step, const long rows, const long inner, \
                     const long block, const long chunk, const int p_count,                   \
                     const int q_count) {                                                     \
    const long first = get_global_id(0) * chunk, row0 = get_global_id(1) * block;             \
    const int n = (int)min(chunk, inner - first);                                             \
    const long end = min(rows, row0 + block);                                                 \
    for (long row = row0; row < end; ++row) {                                                 \
      __global const STORAGE *pa =                                                            \
          a + a_start + row_offset(row, rank, shape, a_strides) + first * a_step;             \
      __global const B_STORAGE *pb =                                                          \
          b + b_start + row_offset(row, rank, shape, b_strides) + first * b_step;             \
      __global OUT_STORAGE *py = y + y_start + row * inner + first;                           \
      if (a_step == 1 && b_step == 1) {                                                       \
        FORM(LOAD16(pa + i), LOAD16(pb + i), EXPRESSION)                                      \
        EACH(FROM, i, i, EXPRESSION)                                                          \
      } else if (a_step == 1 && b_step == 0) {                                                \
        FORM(LOAD16(pa + i), (COMPUTE16)LOAD_B(pb, 0), EXPRESSION)                            \
        EACH(FROM, i, 0, EXPRESSION)                                                          \
      } else if (a_step == 0 && b_step == 1) {                                                \
        FORM((COMPUTE16)LOAD(pa, 0), LOAD16(pb + i), EXPRESSION)                              \
        EACH(FROM, 0, i, EXPRESSION)                                                          \
      } else {                                                                                \
        EACH(0, i *a_step, i *b_step, EXPRESSION)                                             \
      }                                                                                       \
    }                                                                                         \
  }

#if defined(ONLY_WHERE)
#elif defined(IS_PREDICATE)
BINARY(Equal, p == q)
BINARY(Greater, p > q)
BINARY(GreaterOrEqual, p >= q)
BINARY(Less, p < q)
BINARY(LessOrEqual, p <= q)
BINARY(And, (p != ZERO) && (q != ZERO))
BINARY(Or, (p != ZERO) || (q != ZERO))
BINARY(Xor, (p != ZERO) != (q != ZERO))
#else

BINARY(Add, p + q)
BINARY(Sub, p - q)
BINARY(Mul, p *q)
BINARY(PRelu, p < ZERO ? p * q : p)

#ifdef IS_INTEGER
// Division by zero gives 0, and q = -1 negates: both would trap in hardware.
inline COMPUTE quotient(const COMPUTE p, const COMPUTE q) {
  if (q == (COMPUTE)0) return (COMPUTE)0;
  return q == (COMPUTE)-1 && (COMPUTE)-1 < (COMPUTE)0 ? (COMPUTE)0 - p : p / q;
}
inline COMPUTE remainder_c(const COMPUTE p, const COMPUTE q) { return p - quotient(p, q) * q; }
// The sign of the divisor, as in Python; 0 for division by zero, as in NumPy.
inline COMPUTE remainder_python(const COMPUTE p, const COMPUTE q) {
  const COMPUTE r = q == (COMPUTE)0 ? (COMPUTE)0 : remainder_c(p, q);
  return r != (COMPUTE)0 && (r < (COMPUTE)0) != (q < (COMPUTE)0) ? r + q : r;
}
// By squaring, wrapping. Negative exponents give the truncated quotient 1 / p^|q|.
inline COMPUTE power(const COMPUTE p, const EXPONENT q) {
  if (q < (EXPONENT)0) {
    if (p == (COMPUTE)1) return p;
    if ((COMPUTE)-1 > (COMPUTE)0 || p != (COMPUTE)-1) return (COMPUTE)0;
    return q & (EXPONENT)1 ? p : (COMPUTE)1;
  }
  COMPUTE result = (COMPUTE)1, square = p;
  for (EXPONENT left = q; left > (EXPONENT)0; left >>= 1) {
    if (left & (EXPONENT)1) result *= square;
    square *= square;
  }
  return result;
}
// Beyond the width, or by a negative number: what the sign alone leaves.
#define WITHIN(q) ((q) >= (COMPUTE)0 && (q) < (COMPUTE)(8 * sizeof(COMPUTE)))
inline COMPUTE shift_left(const COMPUTE p, const COMPUTE q) {
  return WITHIN(q) ? (COMPUTE)(p << q) : (COMPUTE)0;
}
inline COMPUTE shift_right(const COMPUTE p, const COMPUTE q) {
  return WITHIN(q) ? (COMPUTE)(p >> q) : (p < (COMPUTE)0 ? (COMPUTE)-1 : (COMPUTE)0);
}
#ifndef B_DIFFERS
BINARY(BitwiseAnd, p & q)
BINARY(BitwiseOr, p | q)
BINARY(BitwiseXor, p ^ q)
SCALAR(ShiftLeft, shift_left(p, q))
SCALAR(ShiftRight, shift_right(p, q))
#endif
SCALAR(Div, quotient(p, q))
SCALAR(Mod, remainder_python(p, q))
SCALAR(Fmod, q == ZERO ? ZERO : remainder_c(p, q))
SCALAR(Pow, power(p, q))
#ifndef B_DIFFERS
BINARY(Max, max(p, q))
BINARY(Min, min(p, q))
#endif
#else
BINARY(Div, p / q)
#ifndef B_DIFFERS
// Not in vectors: on PoCL 3.0, fmod of double16 is wrong for some pairs.
SCALAR(Fmod, fmod(p, q))
#endif
#ifdef WHOLE_POWERS_IN
// Parts of 24 bits, which any float holds; all have the sign of q, so no infinity meets a 0.
inline COMPUTE power(const COMPUTE p, const EXPONENT q) {
  typedef WHOLE_POWERS_IN W;
  if (q == (EXPONENT)2) return p * p;
  const ulong size = q < (EXPONENT)0 ? (ulong)0 - (ulong)(long)q : (ulong)q, mask = (1 << 24) - 1;
  const W unit = q < (EXPONENT)0 ? (W)-1 : (W)1;
  W y = pow((W)p, unit * (W)(size & mask));
  if (size >> 24) {
    y *= pow((W)p, unit * (W)((size >> 24) & mask) * (W)16777216.0f);
    y *= pow((W)p, unit * (W)(size >> 48) * (W)281474976710656.0f);
  }
  return (COMPUTE)y;
}
SCALAR(Pow, power(p, q))
#else
// A square is a product, whatever else is in the vector: `_kernel_name` does so for constants.
BINARY(Pow, q == (T)2 ? p * p : POW(p, q))
#endif
#ifndef B_DIFFERS
// NaN in either operand is the result.
BINARY(Max, ((p > q) | isnan(p)) ? p : q)
BINARY(Min, ((p < q) | isnan(p)) ? p : q)
// One step of a mean: terms are divided before they are added, so that no sum overflows.
BINARY(Mean, p / (T)(COMPUTE)p_count + q / (T)(COMPUTE)q_count)
#endif
#endif
#endif

#ifdef ONLY_WHERE
// y = c ? a : b, elements moved as unsigned integers of their size. c has strides like a and b.
__kernel void Where(__global const uchar *c, const long c_start, __global const STORAGE *a,
                    const long a_start, __global const STORAGE *b, const long b_start,
                    __global STORAGE *y, const long y_start, const int rank, const dims_t shape,
                    const dims_t c_strides, const dims_t a_strides, const dims_t b_strides,
                    const long c_step, const long a_step, const long b_step, const long rows,
                    const long inner, const long block, const long chunk) {
  const long first = get_global_id(0) * chunk, row0 = get_global_id(1) * block;
  const int n = (int)min(chunk, inner - first);
  const long end = min(rows, row0 + block);
  for (long row = row0; row < end; ++row) {
    __global const uchar *pc =
        c + c_start + row_offset(row, rank, shape, c_strides) + first * c_step;
    __global const STORAGE *pa =
        a + a_start + row_offset(row, rank, shape, a_strides) + first * a_step;
    __global const STORAGE *pb =
        b + b_start + row_offset(row, rank, shape, b_strides) + first * b_step;
    __global STORAGE *py = y + y_start + row * inner + first;
    if (c_step == 1 && a_step == 1 && b_step == 1) {
      for (int i = 0; i < n; ++i) py[i] = pc[i] ? pa[i] : pb[i];
    } else {
      for (int i = 0; i < n; ++i) py[i] = pc[i * c_step] ? pa[i * a_step] : pb[i * b_step];
    }
  }
}
#endif
