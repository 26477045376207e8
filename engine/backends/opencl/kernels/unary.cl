// y_i = f(x_i). x and y have the same layout, so both are flat.
//
// One work-item owns CHUNK consecutive elements: [g * CHUNK, min(count, (g + 1) * CHUNK)), sixteen
// at a time (half loads vectorise only when written so); the last ones are padded to sixteen, so
// that every element goes through the same instructions wherever it lies: scalar and vector
// built-ins of one driver differ in the last place.
// No local memory, no barrier. alpha, beta: see each function; unused otherwise.

#include "vector16.cl"

#define CHUNK 1024

// T is the type of v, a vector; `?:` selects by element.
typedef COMPUTE16 T;
#define ZERO ((T)(COMPUTE)0)
#define ONE ((T)(COMPUTE)1)
#ifdef USE_FP64
#define C(x) ((T)(x))
#else
#define C(x) ((T)(COMPUTE)(x##f))
#endif

#define UNARY(NAME, EXPRESSION)                                                            \
  inline T NAME##_16(const T v, const T alpha, const T beta) { return EXPRESSION; }        \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *y,   \
                     const long y_start, const long count, const float alpha_,             \
                     const float beta_) {                                                  \
    const long first = (long)get_global_id(0) * CHUNK;                                     \
    const int n = (int)min((long)CHUNK, count - first);                                    \
    const T alpha = (T)(COMPUTE)alpha_, beta = (T)(COMPUTE)beta_;                          \
    x += x_start + first;                                                                  \
    y += y_start + first;                                                                  \
    int i = 0;                                                                             \
    for (; i + 16 <= n; i += 16) STORE16(y + i, NAME##_16(LOAD16(x + i), alpha, beta));    \
    if (i < n) store_some(y + i, NAME##_16(load_some(x + i, n - i), alpha, beta), n - i);  \
  }

#define PREDICATE(NAME, EXPRESSION)                                                        \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global uchar *y,     \
                     const long y_start, const long count, const float alpha_,             \
                     const float beta_) {                                                  \
    const long first = (long)get_global_id(0) * CHUNK;                                     \
    const int n = (int)min((long)CHUNK, count - first);                                    \
    for (int i = 0; i < n; ++i) {                                                          \
      const COMPUTE v = LOAD(x + x_start + first, i);                                      \
      y[y_start + first + i] = (EXPRESSION) ? 1 : 0;                                       \
    }                                                                                      \
  }

#if defined(IS_PREDICATE) && defined(IS_INTEGER)
PREDICATE(Not, v == 0)
#elif defined(IS_PREDICATE)
PREDICATE(IsNaN, isnan(v))
PREDICATE(IsInf, isinf(v))
#elif defined(IS_INTEGER)
UNARY(Relu, max(v, ZERO))
UNARY(Neg, -v)
UNARY(Abs, v < ZERO ? -v : v)
UNARY(Sign, v > ZERO ? ONE : (v < ZERO ? -ONE : ZERO))
UNARY(BitwiseNot, ~v)
#else
// NaN goes through Relu and the clamps: `v < 0 ? 0 : v` keeps it, fmax would drop it.
#define UNIT(v) ((v) < ZERO ? ZERO : ((v) > ONE ? ONE : (v)))
#define SOFTPLUS(v) (((v) < ZERO ? ZERO : (v)) + log1p(exp(-fabs(v))))
// Beyond these erf and tanh round to +-1. A driver's own erf(infinity) may be a little less (by the
// ULP row for half), and so is PoCL's tanh(infinity); then Gelu(-infinity) would be -infinity.
#ifdef USE_FP64
#define ERF(v) (fabs(v) > C(6.0) ? sign(v) : erf(v))
#define TANH(v) (fabs(v) > C(20.0) ? sign(v) : tanh(v))
#else
#define ERF(v) (fabs(v) > C(4.0) ? sign(v) : erf(v))
#define TANH(v) (fabs(v) > C(10.0) ? sign(v) : tanh(v))
#endif

#if defined(QUIRK_TRIGONOMETRY_BY_VECTOR) && !defined(USE_FP64) && !defined(USE_FP16)
// See quirks.py: lanes of 2^23 and beyond are taken one by one, and 0 takes their place.
#define LANES_APART(FUNCTION)                                                              \
  inline T FUNCTION##_of_lanes(const T v) {                                                \
    const int16 far = fabs(v) >= 0x1p23f;                                                  \
    const T near = FUNCTION(far ? ZERO : v);                                               \
    if (!any(far)) return near;                                                            \
    COMPUTE x[16], y[16];                                                                  \
    vstore16(v, 0, x);                                                                     \
    vstore16(near, 0, y);                                                                  \
    for (int i = 0; i < 16; ++i)                                                           \
      if (fabs(x[i]) >= 0x1p23f) y[i] = FUNCTION(x[i]);                                    \
    return vload16(0, y);                                                                  \
  }
LANES_APART(sin)
LANES_APART(cos)
LANES_APART(tan)
#define SIN(v) sin_of_lanes(v)
#define COS(v) cos_of_lanes(v)
#define TAN(v) tan_of_lanes(v)
#else
#define SIN(v) sin(v)
#define COS(v) cos(v)
#define TAN(v) tan(v)
#endif

UNARY(Relu, v < ZERO ? ZERO : v)
UNARY(Abs, fabs(v))
UNARY(Neg, -v)
UNARY(Floor, floor(v))
UNARY(Ceil, ceil(v))
UNARY(Round, rint(v))
UNARY(Sign, isnan(v) ? v : sign(v))
UNARY(Sqrt, sqrt(v))
UNARY(Reciprocal, ONE / v)
UNARY(Exp, exp(v))
UNARY(Log, log(v))
UNARY(Sin, SIN(v))
UNARY(Cos, COS(v))
UNARY(Tanh, TANH(v))
UNARY(Erf, ERF(v))
UNARY(Sigmoid, ONE / (ONE + exp(-v)))
UNARY(LeakyRelu, v < ZERO ? alpha * v : v)
UNARY(HardSigmoid, UNIT(alpha * v + beta))
UNARY(HardSwish, v *UNIT(v *C(0.16666666666666666) + C(0.5)))
UNARY(Tan, TAN(v))
UNARY(Asin, asin(v))
UNARY(Acos, acos(v))
UNARY(Atan, atan(v))
UNARY(Sinh, sinh(v))
UNARY(Cosh, cosh(v))
UNARY(Asinh, asinh(v))
UNARY(Acosh, acosh(v))
UNARY(Atanh, atanh(v))
UNARY(Softplus, SOFTPLUS(v))
UNARY(Softsign, v / (ONE + fabs(v)))
UNARY(Elu, v < ZERO ? alpha * expm1(v) : v)
UNARY(Selu, beta * (v < ZERO ? alpha * expm1(v) : v))
UNARY(Celu, v < ZERO ? alpha * expm1(v / alpha) : v)
UNARY(ThresholdedRelu, v > alpha ? v : ZERO)
UNARY(Shrink, v < -alpha ? v + beta : (v > alpha ? v - beta : ZERO))
UNARY(Mish, v *tanh(SOFTPLUS(v)))
UNARY(Swish, v / (ONE + exp(-alpha * v)))
UNARY(Gelu, v *C(0.5) * (ONE + ERF(v *C(0.70710678118654752))))
#endif

#ifndef IS_PREDICATE
// Limits are one-element tensors; a missing one is marked by has_low or has_high being 0.
__kernel void Clip(__global const STORAGE *x, const long x_start, __global const STORAGE *low,
                   const long low_start, __global const STORAGE *high, const long high_start,
                   __global STORAGE *y, const long y_start, const long count, const int has_low,
                   const int has_high) {
  const long first = (long)get_global_id(0) * CHUNK;
  const int n = (int)min((long)CHUNK, count - first);
  const COMPUTE bottom = has_low ? LOAD(low, low_start) : (COMPUTE)0;
  const COMPUTE top = has_high ? LOAD(high, high_start) : (COMPUTE)0;
  x += x_start + first;
  y += y_start + first;
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    COMPUTE16 v = LOAD16(x + i);
    if (has_low) v = v < (COMPUTE16)bottom ? (COMPUTE16)bottom : v;
    if (has_high) v = v > (COMPUTE16)top ? (COMPUTE16)top : v;
    STORE16(y + i, v);
  }
  for (; i < n; ++i) {
    COMPUTE v = LOAD(x, i);
    if (has_low) v = v < bottom ? bottom : v;
    if (has_high) v = v > top ? top : v;
    STORE(y, i, v);
  }
}
#endif
