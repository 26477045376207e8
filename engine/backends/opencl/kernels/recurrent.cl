// LSTM, GRU and RNN: GATES is 4, 3 or 1. Arithmetic and states are never half.
//
// Weights are packed as [direction][block of 16 hidden units][depth][GATES][16], zero-filled beyond
// the last unit, so that one work-item holds all gates of its units in registers.
// `project` makes the sums of the inputs of all steps, `recur` goes through the steps.
// No local memory, no barrier: what one work-item of `recur` reads of another's, an earlier launch
// has written.
//
// Parameters (tensors as buffer and element offset):
//   sums     [direction][row of X][block][GATES][16]
//   planes   [plane][direction][batch][blocks * 16]: H of even and of odd steps, then C of an LSTM;
//            z and r H of a GRU
//   size     steps, batch, features, hidden units, blocks, directions, flags, planes
//   strides  of y along time, directions, batch; of states along directions, batch; of the rows of X
//            along time, batch; number of rows of X
// Order of the sum: one accumulator per gate and unit, biases first, then features, then H.

#include "vector16.cl"

#if GATES == 1
#define ROWS 8
#else
#define ROWS 4
#endif
#define DEPTH 64
#define UNITS 16
#define TILE (GATES * UNITS)

#define HAS_BIAS 1
#define HAS_LENGTHS 2
#define HAS_H 4
#define HAS_C 8
#define HAS_PEEPHOLES 16
#define INPUT_FORGET 32
#define LINEAR_BEFORE_RESET 64
#define REVERSE 128

// sums[m][g] += sum over k < depth of A(m, k) * w[k][g], for `count` rows and the gates given.
#define ACCUMULATE(COUNT, FIRST, LAST, A)                                             \
  for (int k = 0; k < depth; ++k, w += TILE) {                                        \
    VEC weights[GATES];                                                               \
    UNROLL                                                                            \
    for (int g = FIRST; g < LAST; ++g) weights[g] = LOAD16(w + UNITS * g);            \
    UNROLL                                                                            \
    for (int m = 0; m < COUNT; ++m) {                                                 \
      const COMPUTE factor = A;                                                       \
      UNROLL                                                                          \
      for (int g = FIRST; g < LAST; ++g) sums[m][g] = factor * weights[g] + sums[m][g]; \
    }                                                                                 \
  }

// Weights that are computed by the model, packed. Global size: (blocks, directions).
__kernel void pack(__global const STORAGE *w, const long w_start, __global STORAGE *packed,
                   const long packed_start, const int hidden, const int depth) {
  const long d = get_global_id(1), block = get_global_id(0);
  const int lanes = min(UNITS, hidden - (int)block * UNITS);
  w += w_start + (d * GATES * hidden + block * UNITS) * depth;
  packed += packed_start + (d * get_global_size(0) + block) * depth * TILE;
  for (int k = 0; k < depth; ++k)
    for (int g = 0; g < GATES; ++g)
      for (int i = 0; i < UNITS; ++i) {
        const COMPUTE v = i < lanes ? LOAD(w, ((long)g * hidden + i) * depth + k) : (COMPUTE)0;
        STORE(packed, ((long)k * GATES + g) * UNITS + i, v);
      }
}

// One work-item owns ROWS rows of X by all gates of one block of units; those of the first rows also
// copy the initial states of their units. Global size: (ceil(rows / ROWS), blocks, directions).
__kernel void project(__global const STORAGE *x, const long x_start, __global const STORAGE *w,
                      const long w_start, __global const STORAGE *bias, const long bias_start,
                      __global const STORAGE *h, const long h_start, __global const STORAGE *c,
                      const long c_start, __global COMPUTE *sums_of, const long sums_start,
                      __global COMPUTE *planes, const long planes_start, const int8 size,
                      const long8 strides) {
  const int batch = size.s1, features = size.s2, hidden = size.s3, flags = size.s6;
  const long blocks = size.s4, block = get_global_id(1), d = get_global_id(2);
  const int j = block * UNITS, lanes = hidden - j;
  const long first = get_global_id(0) * ROWS, rows = strides.s7;
  if (first == 0)
    for (long b = 0; b < batch; ++b) {
      const long from = d * strides.s3 + b * strides.s4 + j;
      const long to = planes_start + (d * batch + b) * blocks * UNITS + j;
      const long plane = (long)size.s5 * batch * blocks * UNITS;
      const VEC none = (VEC)(COMPUTE)0;
      vstore16(flags & HAS_H ? load_some(h + h_start + from, lanes) : none, 0, planes + to);
      if (GATES == 4)
        vstore16(flags & HAS_C ? load_some(c + c_start + from, lanes) : none, 0,
                 planes + to + 2 * plane);
    }

  VEC sums[ROWS][GATES];
  UNROLL
  for (int g = 0; g < GATES; ++g) {
    VEC start = (VEC)(COMPUTE)0;
    if (flags & HAS_BIAS) {
      __global const STORAGE *b = bias + bias_start + (d * 2 * GATES + g) * hidden + j;
      start = load_some(b, lanes);
      if (!(GATES == 3 && g == 2 && (flags & LINEAR_BEFORE_RESET)))
        start += load_some(b + (long)GATES * hidden, lanes);
    }
    UNROLL
    for (int m = 0; m < ROWS; ++m) sums[m][g] = start;
  }
  x += x_start + first * features;
  w += w_start + (d * blocks + block) * features * TILE;
  const int count = min((long)ROWS, rows - first);
  COMPUTE a[ROWS * DEPTH];
  for (int k0 = 0; k0 < features; k0 += DEPTH) {
    const int depth = min(DEPTH, features - k0);
    for (int m = 0; m < ROWS; ++m)
      for (int i = 0; i < depth; i += 16)
        vstore16(load_some(x + (long)min(m, count - 1) * features + k0 + i, depth - i), 0,
                 a + m * DEPTH + i);
    if (count == 1)
      ACCUMULATE(1, 0, GATES, a[k])
    else
      ACCUMULATE(ROWS, 0, GATES, a[m * DEPTH + k])
  }
  VEC spilled[ROWS * GATES];
  UNROLL
  for (int i = 0; i < ROWS * GATES; ++i) spilled[i] = sums[i / GATES][i % GATES];
  sums_of += sums_start + ((d * rows + first) * blocks + block) * TILE;
  for (int m = 0; m < count; ++m)
    for (int g = 0; g < GATES; ++g)
      vstore16(spilled[m * GATES + g], g, sums_of + m * blocks * TILE);
}

#define RELU 0
#define TANH 1
#define LOGISTIC 2
#define SOFTSIGN 3
#define SOFTPLUS 4
#define LEAKY 5
#define THRESHOLDED_RELU 6
#define ELU 7
#define HARD_LOGISTIC 8
#define AFFINE 9
#define SCALED_TANH 10

typedef struct {
  int kind[3];
  COMPUTE alpha[3], beta[3], clip;
} functions_t;

__attribute__((noinline)) VEC apply(const VEC v, const int kind, const COMPUTE alpha, const COMPUTE beta) {
  const VEC zero = (VEC)(COMPUTE)0, one = (VEC)(COMPUTE)1;
  switch (kind) {
    case RELU: return v < zero ? zero : v;
    case TANH: return tanh(v);
    case LOGISTIC: return one / (one + exp(-v));
    case SOFTSIGN: return v / (one + fabs(v));
    case SOFTPLUS: return (v < zero ? zero : v) + log1p(exp(-fabs(v)));
    case LEAKY: return v < zero ? alpha * v : v;
    case THRESHOLDED_RELU: return v > (VEC)alpha ? v : zero;
    case ELU: return v < zero ? alpha * expm1(v) : v;
    case HARD_LOGISTIC: return clamped(alpha * v + beta, (COMPUTE)0, (COMPUTE)1);
    case AFFINE: return alpha * v + beta;
    default: return alpha * tanh(beta * v);
  }
}

// Clipped, then function n of the direction.
INLINED VEC act(const VEC v, const functions_t *f, const int n) {
  return apply(clamped(v, -f->clip, f->clip), f->kind[n], f->alpha[n], f->beta[n]);
}

// sums of ROWS rows: those of `project`, from OWN on `late` instead, and H R^T of the gates FIRST to
// LAST.
#define INPUTS(b) (sums_of + (t * strides.s5 + (b) * strides.s6) * row + block * TILE)
#define GATHER(FIRST, LAST, OWN, H)                                                      \
  VEC sums[ROWS][GATES];                                                                 \
  __global const COMPUTE *rows[ROWS];                                                    \
  UNROLL                                                                                 \
  for (int m = 0; m < ROWS; ++m) {                                                       \
    const long b = b0 + min(m, count - 1);                                               \
    rows[m] = (H) + b * width;                                                           \
    UNROLL                                                                               \
    for (int g = FIRST; g < LAST; ++g)                                                   \
      sums[m][g] = g < OWN ? vload16(g, INPUTS(b)) : late;                               \
  }                                                                                      \
  {                                                                                      \
    __global const STORAGE *w = r + (long)block * depth * TILE;                          \
    if (count == 1)                                                                      \
      ACCUMULATE(1, FIRST, LAST, rows[0][k])                                             \
    else                                                                                 \
      ACCUMULATE(ROWS, FIRST, LAST, rows[m][k])                                          \
  }                                                                                      \
  VEC spilled[ROWS * GATES];                                                             \
  UNROLL                                                                                 \
  for (int i = 0; i < ROWS * GATES; ++i)                                                 \
    if (i % GATES >= FIRST && i % GATES < LAST) spilled[i] = sums[i / GATES][i % GATES];

// One work-item owns ROWS rows of the batch by span.s2 blocks of units in the steps span.s0 to
// span.s1, and the phases of a step in span.s3 (bits; a GRU needs all units of r H before the second).
// Where it owns all blocks it may do all steps; otherwise every step and phase is a launch.
// Global size: (ceil(batch / ROWS), ceil(blocks / span.s2), directions); local size 1.
__kernel void recur(__global const STORAGE *r, const long r_start, __global const STORAGE *bias,
                    const long bias_start, __global const STORAGE *peepholes,
                    const long peepholes_start, __global const int *lengths,
                    const long lengths_start, __global const COMPUTE *sums_of,
                    const long sums_start, __global COMPUTE *planes, const long planes_start,
                    __global STORAGE *y, const long y_start, __global STORAGE *y_h,
                    const long y_h_start, __global STORAGE *y_c, const long y_c_start,
                    const int8 size, const long8 strides, const int4 span, const int8 kinds,
                    const float8 alphas, const float8 betas, const float clip) {
  const int steps = size.s0, batch = size.s1, depth = size.s3, flags = size.s6;
  const int b0 = get_global_id(0) * ROWS, count = min(ROWS, batch - b0);
  const int first = get_global_id(1) * span.s2, last = min(size.s4, first + span.s2);
  const long d = get_global_id(2), width = (long)size.s4 * UNITS, row = (long)size.s4 * TILE;
  const long plane = (long)size.s5 * batch * width;
  const int backwards = d == 1 || (flags & REVERSE);
  r += r_start + d * size.s4 * depth * TILE;
  bias += bias_start + d * 2 * GATES * depth;
  peepholes += peepholes_start + d * 3 * depth;
  sums_of += sums_start + d * strides.s7 * row;
  planes += planes_start + d * batch * width;
  y += y_start + d * strides.s1;
  y_h += y_h_start + d * strides.s3;
  y_c += y_c_start + d * strides.s3;

  int kind[8];
  float alpha[8], beta[8];
  vstore8(kinds, 0, kind);
  vstore8(alphas, 0, alpha);
  vstore8(betas, 0, beta);
  functions_t f;
  f.clip = (COMPUTE)clip;
  for (int n = 0; n < 3; ++n) {
    f.kind[n] = kind[d * 4 + n];
    f.alpha[n] = (COMPUTE)alpha[d * 4 + n];
    f.beta[n] = (COMPUTE)beta[d * 4 + n];
  }
  int ends[ROWS];
  for (int m = 0; m < count; ++m)
    ends[m] = flags & HAS_LENGTHS ? min(lengths[lengths_start + b0 + m], steps) : steps;

  for (int s = span.s0; s < span.s1; ++s) {
    const long t = backwards ? steps - 1 - s : s;
    __global COMPUTE *before = planes + (s & 1) * plane, *after = planes + (1 - (s & 1)) * plane;
#if GATES == 3
    if ((span.s3 & 1) && !(flags & LINEAR_BEFORE_RESET))
      for (int block = first; block < last; ++block) {
        const VEC late = (VEC)(COMPUTE)0;
        GATHER(0, 2, 2, before)
        for (int m = 0; m < count; ++m) {
          const long at = (long)(b0 + m) * width + block * UNITS;
          vstore16(act(spilled[m * GATES], &f, 0), 0, planes + 2 * plane + at);
          const VEC reset = act(spilled[m * GATES + 1], &f, 0);
          vstore16(reset * vload16(0, before + at), 0, planes + 3 * plane + at);
        }
      }
    if (!(span.s3 & 2)) continue;
#endif
    for (int block = first; block < last; ++block) {
      const int j = block * UNITS, lanes = depth - j;
      VEC late = (VEC)(COMPUTE)0;
#if GATES == 3
      VEC fresh[ROWS], update[ROWS];
      if (flags & LINEAR_BEFORE_RESET) {
        if (flags & HAS_BIAS) late = load_some(bias + (long)(GATES + 2) * depth + j, lanes);
        GATHER(0, 3, 2, before)
        for (int m = 0; m < count; ++m) {
          const VEC reset = act(spilled[m * GATES + 1], &f, 0) * spilled[m * GATES + 2];
          update[m] = act(spilled[m * GATES], &f, 0);
          fresh[m] = act(vload16(2, INPUTS(b0 + m)) + reset, &f, 1);
        }
      } else {
        GATHER(2, 3, 3, planes + 3 * plane)
        for (int m = 0; m < count; ++m) {
          update[m] = vload16(0, planes + 2 * plane + (long)(b0 + m) * width + j);
          fresh[m] = act(spilled[m * GATES + 2], &f, 1);
        }
      }
#else
      GATHER(0, GATES, GATES, before)
#endif
      for (int m = 0; m < count; ++m) {
        const long at = (long)(b0 + m) * width + j;
        const VEC old = vload16(0, before + at);
#if GATES == 4
        VEC c = vload16(0, planes + 2 * plane + at);
        VEC i = spilled[m * GATES], o = spilled[m * GATES + 1], forget = spilled[m * GATES + 2];
        if (flags & HAS_PEEPHOLES) {
          i += load_some(peepholes + j, lanes) * c;
          forget += load_some(peepholes + 2 * depth + j, lanes) * c;
        }
        i = act(i, &f, 0);
        forget = flags & INPUT_FORGET ? (VEC)(COMPUTE)1 - i : act(forget, &f, 0);
        c = forget * c + i * act(spilled[m * GATES + 3], &f, 1);
        if (flags & HAS_PEEPHOLES) o += load_some(peepholes + depth + j, lanes) * c;
        const VEC new = act(o, &f, 0) * apply(c, f.kind[2], f.alpha[2], f.beta[2]);
        if (t < ends[m]) vstore16(c, 0, planes + 2 * plane + at);
#elif GATES == 3
        const VEC new = ((VEC)(COMPUTE)1 - update[m]) * fresh[m] + update[m] * old;
#else
        const VEC new = act(spilled[m], &f, 0);
#endif
        const int runs = t < ends[m];
        vstore16(runs ? new : old, 0, after + at);
        store_some(y + t * strides.s0 + (b0 + m) * strides.s2 + j,
                   runs ? new : (VEC)(COMPUTE)0, lanes);
      }
    }
  }
  if (span.s1 < steps || !(span.s3 & 2)) return;
  for (int block = first; block < last; ++block)
    for (int m = 0; m < count; ++m) {
      const int j = block * UNITS, lanes = depth - j;
      const long at = (long)(b0 + m) * width + j, to = (b0 + m) * strides.s4 + j;
      const VEC none = (VEC)(COMPUTE)0;
      const int ran = ends[m] > 0;
      store_some(y_h + to, ran ? vload16(0, planes + (steps & 1) * plane + at) : none, lanes);
#if GATES == 4
      store_some(y_c + to, ran ? vload16(0, planes + 2 * plane + at) : none, lanes);
#endif
    }
}
