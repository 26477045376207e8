// Sixteen elements at a time, and what a fused kernel does at its end. Included by other files.

#define VEC COMPUTE16
#define UNROLL _Pragma("unroll")
// For functions that take registers by pointer: a call would put them into memory.
#define INLINED inline __attribute__((always_inline))

#ifndef IS_INTEGER
// Activations. CLAMP covers none (infinite limits) and Relu (0, infinity); it keeps NaN.
#define CLAMP 0         // min(max(v, alpha), beta)
#define LEAKY_RELU 1    // v < 0 ? alpha v : v
#define HARD_SIGMOID 2  // clamp(alpha v + beta, 0, 1)
#define HARD_SWISH 3    // v clamp(v / 6 + 1/2, 0, 1)
#define SIGMOID 4       // 1 / (1 + exp(-v))

inline VEC clamped(const VEC v, const COMPUTE low, const COMPUTE high) {
  const VEC raised = v < (VEC)low ? (VEC)low : v;
  return raised > (VEC)high ? (VEC)high : raised;
}

inline VEC activated(const VEC v, const int kind, const COMPUTE alpha, const COMPUTE beta) {
  const VEC zero = (VEC)(COMPUTE)0, one = (VEC)(COMPUTE)1;
  if (kind == CLAMP) return clamped(v, alpha, beta);
  if (kind == LEAKY_RELU) return v < zero ? alpha * v : v;
  if (kind == HARD_SIGMOID) return clamped(alpha * v + beta, (COMPUTE)0, (COMPUTE)1);
  if (kind == HARD_SWISH)
    return v * clamped(v * ((COMPUTE)1 / (COMPUTE)6) + (COMPUTE)0.5f, (COMPUTE)0, (COMPUTE)1);
  return one / (one + exp(-v));
}
#endif

// The first `lanes` (1 to 16) of 16 consecutive elements; the others are 0.
inline VEC load_some(__global const STORAGE *p, const int lanes) {
  if (lanes >= 16) return LOAD16(p);
  COMPUTE part[16] = {0};
  for (int i = 0; i < lanes; ++i) part[i] = LOAD(p, i);
  return vload16(0, part);
}

inline void store_some(__global STORAGE *p, const VEC v, const int lanes) {
  if (lanes >= 16) {
    STORE16(p, v);
    return;
  }
  COMPUTE part[16];
  vstore16(v, 0, part);
  for (int i = 0; i < lanes; ++i) STORE(p, i, part[i]);
}
