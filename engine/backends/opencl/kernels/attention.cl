// Attention: y = softmax(cap(scale q k^T) + bias) v, where -inf in the bias hides a key.
//
// Letters as in ops/attention_form.py. Keys are taken in pieces of KEYS: the largest score so far, the
// sum of exponentials and of weighted values are carried from piece to piece (Milakov, Gimelshein,
// "Online normalizer calculation for softmax", 2018), so no scores are stored.

#include "vector16.cl"

#define ROWS 4
#define COLUMNS 128
#define KEYS 64
#define DEPTH 64
#define TOKENS 64
#define NUMBERS 1
#define BOOLEANS 2
// A comparison with NaN fails, so only NaN itself is not kept out of the maximum.
#define LARGER(a, v) ((((v) > (a)) | isnan(v)) ? (v) : (a))

inline COMPUTE sum_of_lanes(const VEC wide) {
  const CAT(COMPUTE, 8) a8 = wide.lo + wide.hi;
  const CAT(COMPUTE, 4) a4 = a8.lo + a8.hi;
  const CAT(COMPUTE, 2) a2 = a4.lo + a4.hi;
  return a2.x + a2.y;
}

// present[b, h] = past[b, h], then fresh[b, h]. One work-item owns TOKENS tokens of a head. Global
// size: (ceil(t / TOKENS), m, batch).
//   past, present  (batch, m, p, n) and (batch, m, t, n), dense
//   steps          of fresh, between sequences, heads, tokens
//   size           p, t, n, unused
__kernel void append(__global const STORAGE *past, const long past_start,
                     __global const STORAGE *fresh, const long fresh_start,
                     __global STORAGE *present, const long present_start, const long4 steps,
                     const int4 size) {
  const long h = get_global_id(1), b = get_global_id(2), head = b * get_global_size(1) + h;
  const int first = get_global_id(0) * TOKENS, end = min(first + TOKENS, size.s1), n = size.s2;
  past += past_start + head * size.s0 * n;
  fresh += fresh_start + b * steps.s0 + h * steps.s1;
  present += present_start + head * size.s1 * n;
  for (int t = first; t < end; ++t) {
    __global const STORAGE *from =
        t < size.s0 ? past + (long)t * n : fresh + (t - size.s0) * steps.s2;
    for (int i = 0; i < n; i += 16)
      store_some(present + (long)t * n + i, load_some(from + i, n - i), n - i);
  }
}

// scores[r][j] = row r of q times key j, for `width` keys; row r begins at at[r].
INLINED void products(COMPUTE scores[ROWS][KEYS], __global const STORAGE *q, const long at[ROWS],
                      __global const STORAGE *k, const long step, const int rows,
                      const int width, const int depth) {
  VEC part[ROWS][DEPTH / 16];
  for (int r = 0; r < ROWS; ++r)
    for (int j = 0; j < KEYS; ++j) scores[r][j] = (COMPUTE)0;
  for (int d0 = 0; d0 < depth; d0 += DEPTH) {
    const int left = depth - d0, vectors = (min(DEPTH, left) + 15) / 16;
    for (int c = 0; c < vectors; ++c)
      for (int r = 0; r < ROWS; ++r)
        part[r][c] = r < rows ? load_some(q + at[r] + d0 + 16 * c, left - 16 * c) : (VEC)(COMPUTE)0;
    for (int j = 0; j < width; ++j) {
      VEC sums[ROWS];
      UNROLL
      for (int r = 0; r < ROWS; ++r) sums[r] = (VEC)(COMPUTE)0;
      for (int c = 0; c < vectors; ++c) {
        const VEC key = load_some(k + j * step + d0 + 16 * c, left - 16 * c);
        UNROLL
        for (int r = 0; r < ROWS; ++r) sums[r] += part[r][c] * key;
      }
      UNROLL
      for (int r = 0; r < ROWS; ++r)
        if (r < rows) scores[r][j] += sum_of_lanes(sums[r]);
    }
  }
}

// sums[r] += values weighted by weights[r].
INLINED void weigh(VEC sums[ROWS][COLUMNS / 16], COMPUTE weights[ROWS][KEYS],
                   __global const STORAGE *v, const long step, const int width,
                   const int columns) {
  for (int c = 0; 16 * c < columns; ++c) {
    VEC part[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; ++r) part[r] = sums[r][c];
    for (int j = 0; j < width; ++j) {
      const VEC value = load_some(v + j * step + 16 * c, columns - 16 * c);
      UNROLL
      for (int r = 0; r < ROWS; ++r) part[r] += weights[r][j] * value;
    }
    UNROLL
    for (int r = 0; r < ROWS; ++r) sums[r][c] = part[r];
  }
}

// The largest of `top` and KEYS scores, which are scaled.
inline COMPUTE scaled(COMPUTE *scores, const COMPUTE scale, COMPUTE top) {
  VEC wide = (VEC)top;
  for (int j = 0; j < KEYS; j += 16) {
    const VEC score = vload16(0, scores + j) * scale;
    vstore16(score, 0, scores + j);
    wide = LARGER(wide, score);
  }
  COMPUTE lanes[16];
  vstore16(wide, 0, lanes);
  for (int l = 0; l < 16; ++l) top = LARGER(top, lanes[l]);
  return top;
}

// Scores become exp(score - base); their sum.
inline COMPUTE exponentials(COMPUTE *scores, const COMPUTE base) {
  VEC sum = (VEC)(COMPUTE)0;
  for (int j = 0; j < KEYS; j += 16) {
    const VEC e = exp(vload16(0, scores + j) - base);
    vstore16(e, 0, scores + j);
    sum += e;
  }
  return sum_of_lanes(sum);
}

// A row is a query of one of the heads that share keys and values: query i of head g is row g s + i.
// One work-item owns ROWS of them, and COLUMNS elements of the values. Global size:
// (ceil(n / m s / ROWS), ceil(e / COLUMNS), batch m).
//   mask, allowed                   numbers, or booleans; of `columns` keys, those behind are hidden
//   filled                          how many keys of each sequence there are
//   q_step, k_step, v_step, y_step  between sequences, heads, tokens
//   mask_step                       between sequences, heads, queries, keys; 0 where repeated
//   size                            m, n / m, s, t, d, e, columns, unused
//   given                           kind of mask, whether there is `filled`
//   window                          keys before and after its own that a query sees
//   past                            keys before the first query's own, where there is no `filled`
__kernel void attend(__global const STORAGE *q, const long q_start, __global const STORAGE *k,
                     const long k_start, __global const STORAGE *v, const long v_start,
                     __global const STORAGE *mask, const long mask_start,
                     __global const uchar *allowed, const long allowed_start,
                     __global const long *filled, const long filled_start, __global STORAGE *y,
                     const long y_start, const long4 q_step, const long4 k_step,
                     const long4 v_step, const long4 y_step, const long4 mask_step,
                     const int8 size, const int2 given, const long2 window, const long past,
                     const float scale, const float softcap) {
  const int row0 = get_global_id(0) * ROWS, e0 = get_global_id(1) * COLUMNS;
  const long b = get_global_id(2) / size.s0, m = get_global_id(2) % size.s0;
  const int rows = min(ROWS, size.s1 * size.s2 - row0), columns = min(COLUMNS, size.s5 - e0);
  const COMPUTE lowest = -(COMPUTE)INFINITY, cap = (COMPUTE)softcap;
  const long end = given.s1 ? max(filled[filled_start + b], 0L) : (long)size.s3;
  k += k_start + b * k_step.s0 + m * k_step.s1;
  v += v_start + b * v_step.s0 + m * v_step.s1 + e0;

  COMPUTE scores[ROWS][KEYS], largest[ROWS], total[ROWS];
  VEC sums[ROWS][COLUMNS / 16];
  long q_at[ROWS], y_at[ROWS], mask_at[ROWS], own[ROWS];
  int is_seen[ROWS], is_free = given.s0 == 0 && softcap == 0;
  for (int r = 0; r < ROWS; ++r) {
    const long h = m * size.s1 + (row0 + r) / size.s2, i = (row0 + r) % size.s2;
    q_at[r] = q_start + b * q_step.s0 + h * q_step.s1 + i * q_step.s2;
    y_at[r] = y_start + b * y_step.s0 + h * y_step.s1 + i * y_step.s2 + e0;
    mask_at[r] = b * mask_step.s0 + h * mask_step.s1 + i * mask_step.s2;
    own[r] = i + (given.s1 ? end - size.s2 : past);
    largest[r] = lowest;
    total[r] = (COMPUTE)0;
    is_seen[r] = 0;
    for (int c = 0; c < COLUMNS / 16; ++c) sums[r][c] = (VEC)(COMPUTE)0;
  }
  for (long j0 = 0; j0 < size.s3; j0 += KEYS) {
    const long last = j0 + KEYS - 1;
    const int width = (int)min((long)KEYS, size.s3 - j0);
    products(scores, q, q_at, k + j0 * k_step.s2, k_step.s2, rows, width, size.s4);
    for (int r = 0; r < rows; ++r) {
      COMPUTE top = largest[r];
      if (is_free && last < end && last < size.s3 && last - own[r] <= window.s1 &&
          own[r] - j0 <= window.s0) {
        top = scaled(scores[r], (COMPUTE)scale, top);
        is_seen[r] = 1;
      } else {
        for (int j = 0; j < KEYS; ++j) {
          const long key = j0 + j, at = mask_at[r] + key * mask_step.s3;
          const int has_mask = j < width && key < size.s6;
          const int is_visible = has_mask && key < end && key - own[r] <= window.s1 &&
                                 own[r] - key <= window.s0;
          COMPUTE score = scores[r][j] * (COMPUTE)scale, bias = is_visible ? (COMPUTE)0 : lowest;
          if (softcap > 0) score = cap * tanh(score / cap);
          if (given.s0 == NUMBERS && has_mask) bias += LOAD(mask, mask_start + at);
          if (given.s0 == BOOLEANS && has_mask && !allowed[allowed_start + at]) bias = lowest;
          is_seen[r] |= !(bias == lowest);
          scores[r][j] = j < width ? score + bias : lowest;
          top = LARGER(top, scores[r][j]);
        }
      }
      const COMPUTE base = top == lowest ? (COMPUTE)0 : top;
      const COMPUTE shrunk = largest[r] == base ? (COMPUTE)1 : exp(largest[r] - base);
      total[r] = total[r] * shrunk + exponentials(scores[r], base);
      for (int c = 0; 16 * c < columns; ++c) sums[r][c] *= shrunk;
      largest[r] = top;
    }
    weigh(sums, scores, v + j0 * v_step.s2, v_step.s2, width, columns);
  }
  for (int r = 0; r < rows; ++r) {
    const COMPUTE sum = total[r] == (COMPUTE)0 ? (COMPUTE)1 : total[r];
    for (int c = 0; 16 * c < columns; ++c) {
      const VEC part = is_seen[r] || !isnan(sum) ? sums[r][c] / sum : (VEC)(COMPUTE)0;
      store_some(y + y_at[r] + 16 * c, part, columns - 16 * c);
    }
  }
}
