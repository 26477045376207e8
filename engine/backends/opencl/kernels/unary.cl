// y_i = f(x_i). x and y have the same layout, so both are flat.
//
// One work-item owns CHUNK consecutive elements: [g * CHUNK, min(count, (g + 1) * CHUNK)).
// No local memory, no barrier. alpha, beta: see each function; unused otherwise.

#define CHUNK 1024

#define UNARY(NAME, EXPRESSION)                                                       \
  __kernel void NAME(__global const STORAGE *x, const long x_start,                   \
                     __global OUT_STORAGE *y, const long y_start, const long count,   \
                     const float alpha_, const float beta_) {                         \
    const long first = (long)get_global_id(0) * CHUNK;                                \
    const int n = (int)min((long)CHUNK, count - first);                               \
    const COMPUTE alpha = (COMPUTE)alpha_, beta = (COMPUTE)beta_;                     \
    x += x_start + first;                                                             \
    y += y_start + first;                                                             \
    for (int i = 0; i < n; ++i) {                                                     \
      const COMPUTE v = LOAD(x, i);                                                   \
      OUT_STORE(y, i, EXPRESSION);                                                    \
    }                                                                                 \
  }

#ifdef IS_PREDICATE
#define OUT_STORAGE uchar
#define OUT_STORE(p, i, v) ((p)[(i)] = (v) ? 1 : 0)
#else
#define OUT_STORAGE STORAGE
#define OUT_STORE(p, i, v) STORE(p, i, v)
#endif

#define ZERO ((COMPUTE)0)
#define ONE ((COMPUTE)1)
// A literal of the arithmetic's type.
#ifdef USE_FP64
#define C(x) x
#else
#define C(x) ((COMPUTE)x##f)
#endif

#if defined(IS_PREDICATE) && defined(IS_INTEGER)
UNARY(Not, v == ZERO)
#elif defined(IS_PREDICATE)
UNARY(IsNaN, isnan(v))
UNARY(IsInf, isinf(v))
#elif defined(IS_INTEGER)
UNARY(Relu, max(v, ZERO))
UNARY(Neg, -v)
UNARY(Abs, v < ZERO ? -v : v)
UNARY(Sign, (v > ZERO) - (v < ZERO))
#else
// NaN goes through Relu and the clamps: `v < 0 ? 0 : v` keeps it, fmax would drop it.
inline COMPUTE clamped(const COMPUTE v, const COMPUTE low, const COMPUTE high) {
  const COMPUTE raised = v < low ? low : v;
  return raised > high ? high : raised;
}
UNARY(Relu, v < ZERO ? ZERO : v)
UNARY(Abs, fabs(v))
UNARY(Neg, -v)
UNARY(Floor, floor(v))
UNARY(Ceil, ceil(v))
UNARY(Round, rint(v))
UNARY(Sign, isnan(v) ? v : (COMPUTE)((v > ZERO) - (v < ZERO)))
UNARY(Sqrt, sqrt(v))
UNARY(Reciprocal, ONE / v)
UNARY(Exp, exp(v))
UNARY(Log, log(v))
UNARY(Sin, sin(v))
UNARY(Cos, cos(v))
UNARY(Tanh, tanh(v))
UNARY(Erf, erf(v))
UNARY(Sigmoid, ONE / (ONE + exp(-v)))
UNARY(LeakyRelu, v < ZERO ? alpha * v : v)
UNARY(HardSigmoid, clamped(alpha * v + beta, ZERO, ONE))
UNARY(HardSwish, v *clamped(v *C(0.16666666666666666) + C(0.5), ZERO, ONE))
UNARY(Tan, tan(v))
UNARY(Asin, asin(v))
UNARY(Acos, acos(v))
UNARY(Atan, atan(v))
UNARY(Sinh, sinh(v))
UNARY(Cosh, cosh(v))
UNARY(Asinh, asinh(v))
UNARY(Acosh, acosh(v))
UNARY(Atanh, atanh(v))
inline COMPUTE softplus(const COMPUTE v) { return (v < ZERO ? ZERO : v) + log1p(exp(-fabs(v))); }
UNARY(Softplus, softplus(v))
UNARY(Softsign, v / (ONE + fabs(v)))
UNARY(Elu, v < ZERO ? alpha * expm1(v) : v)
UNARY(Selu, beta * (v < ZERO ? alpha * expm1(v) : v))
UNARY(Celu, v < ZERO ? alpha * expm1(v / alpha) : v)
UNARY(ThresholdedRelu, v > alpha_ ? v : ZERO)
UNARY(Mish, v *tanh(softplus(v)))
UNARY(Swish, v / (ONE + exp(-alpha * v)))
UNARY(Gelu, v *C(0.5) * (ONE + erf(v *C(0.70710678118654752))))
#endif

#ifndef IS_PREDICATE
// Limits are one-element tensors; a missing one is marked by has_low or has_high being 0.
__kernel void Clip(__global const STORAGE *x, const long x_start, __global const STORAGE *low,
                   const long low_start, __global const STORAGE *high, const long high_start,
                   __global STORAGE *y, const long y_start, const long count, const int has_low,
                   const int has_high) {
  const long first = (long)get_global_id(0) * CHUNK;
  const int n = (int)min((long)CHUNK, count - first);
  const COMPUTE bottom = has_low ? LOAD(low, low_start) : ZERO;
  const COMPUTE top = has_high ? LOAD(high, high_start) : ZERO;
  x += x_start + first;
  y += y_start + first;
  for (int i = 0; i < n; ++i) {
    COMPUTE v = LOAD(x, i);
    if (has_low) v = v < bottom ? bottom : v;
    if (has_high) v = v > top ? top : v;
    STORE(y, i, v);
  }
}
#endif
