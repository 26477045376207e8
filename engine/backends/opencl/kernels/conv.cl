// Convolutions over channels-last tensors, as an implicit matrix product held in registers.
//
// Per group, with pixel p = (n, od, oh, ow) and t = (kd, kh, kw):
//   y[p, o] = act(bias[o] + residual[p, o] + sum over t, c of x[n, id, ih, iw, c] * w[o, t, c])
//   ih = oh * stride_h - pad_h + kh * dilation_h, id and iw likewise; x outside the image is 0.
// Fewer spatial axes are the case of D = 1. A ConvTranspose is one such launch per output phase, with
// spaced output slices, rows and columns. A matrix product with a packed right side is the case of one
// tap, the rows being pixels.
//
// No local memory, no barrier, no overlap allowed between y and what is read.
//
// Parameters shared by the kernels (all tensors as buffer and element offset):
//   x         [N, D, H, W, C]
//   w         packed weights, see each kernel
//   bias      zero-padded to whole blocks of outputs; read when after.s0 is set
//   residual  same arrangement as y; read when after.s1 is set
//   input     D, H, W, C (all groups), channels per group
//   output    pixels N * OD * OH * OW, OD, OH, OW, outputs per group
//   window    kernel (s0 to s2: of D, H, W), strides (s3 to s5), dilations (s6 to s8), pads (s9 to sb)
//   y_strides elements between images, slices, rows and columns of y (and of residual)
//   after     has bias, has residual, activation (vector16.cl), unused
//   alpha, beta  of the activation
//
// With -DSKIPS_OUTSIDE, what lies outside adds nothing, instead of 0 times a weight that may be
// infinite: a Conv pads with zeros, a ConvTranspose does not.

#include "vector16.cl"

#define PIXELS 7
#define VECTORS 2
#define BLOCK (16 * VECTORS)

// sums[m][v] += sum over i < run of rows[m][i] * w[i * BLOCK + 16 v ...].
INLINED void accumulate(VEC sums[PIXELS][VECTORS], __global const STORAGE *rows[PIXELS],
                        __global const STORAGE *w, const int run) {
#ifdef HALF_STORAGE
  // 16 elements of every row are widened at a time; the last chunk overlaps the one before it.
  COMPUTE wide[PIXELS][16];
  for (int done = 0; done < run; done += 16) {
    const int start = run < 16 ? 0 : min(done, run - 16);
    UNROLL
    for (int m = 0; m < PIXELS; ++m) vstore16(load_some(rows[m] + start, run), 0, wide[m]);
    const int end = min(16, run - start);
    for (int i = done - start; i < end; ++i, w += BLOCK) {
#define X(m) wide[m][i]
#else
  {
    for (int i = 0; i < run; ++i, w += BLOCK) {
#define X(m) rows[m][i]
#endif
      VEC weights[VECTORS];
      UNROLL
      for (int v = 0; v < VECTORS; ++v) weights[v] = LOAD16(w + 16 * v);
      UNROLL
      for (int m = 0; m < PIXELS; ++m) {
        const COMPUTE xm = X(m);
        UNROLL
        for (int v = 0; v < VECTORS; ++v) sums[m][v] = xm * weights[v] + sums[m][v];
      }
    }
  }
#undef X
}

// The same for a single row, where the others would repeat it.
INLINED void accumulate_one(VEC sums[VECTORS], __global const STORAGE *row,
                            __global const STORAGE *w, const int run) {
  for (int i = 0; i < run; ++i, w += BLOCK) {
    const COMPUTE x = LOAD(row, i);
    UNROLL
    for (int v = 0; v < VECTORS; ++v) sums[v] = x * LOAD16(w + 16 * v) + sums[v];
  }
}

// One work-item owns PIXELS consecutive pixels by one block of BLOCK outputs of one group.
// Global size: (ceil(pixels / PIXELS), blocks per group, groups); local size 1.
//
// w: [groups][blocks][taps * channels per group][BLOCK], zero-filled beyond the group's last output,
// then kernel_w * channels zeros that stand for pixels outside the image.
// Order of the sum: one accumulator per output, bias first, then taps row by row, channels inside.
__kernel void conv_tile(__global const STORAGE *x, const long x_start, __global const STORAGE *w,
                        const long w_start, __global const STORAGE *bias, const long bias_start,
                        __global const STORAGE *residual, const long residual_start,
                        __global STORAGE *y, const long y_start, const int8 input,
                        const int8 output, const int16 window, const long4 y_strides,
                        const int4 after, const float alpha, const float beta) {
  const int depth = input.s0, height = input.s1, width = input.s2, stride_c = input.s3;
  const int channels = input.s4, out_d = output.s1, out_h = output.s2, out_w = output.s3;
  const int kernel_w = window.s2, dilation_d = window.s6, dilation_h = window.s7;
  const int dilation_w = window.s8;
  const int first = get_global_id(0) * PIXELS;
  const int count = min(PIXELS, output.s0 - first);
  const int group = get_global_id(2);
  const long block = group * (long)get_global_size(1) + get_global_id(1);
  const long products = (long)window.s0 * window.s1 * kernel_w * channels;
  __global const STORAGE *outside =
      w + w_start + get_global_size(2) * get_global_size(1) * products * BLOCK;
  x += x_start + (long)group * channels;
  w += w_start + block * products * BLOCK;

  // First input position of every pixel; pixels beyond the last repeat it and are not stored.
  int front[PIXELS], top[PIXELS], left[PIXELS];
  long corner[PIXELS], place[PIXELS];
  int is_inside = 1;
  int column = first % out_w, row = first / out_w % out_h, n = first / out_w / out_h / out_d;
  int slice = first / out_w / out_h - n * out_d;
  UNROLL
  for (int m = 0; m < PIXELS; ++m) {
    front[m] = slice * window.s3 - window.s9;
    top[m] = row * window.s4 - window.sa;
    left[m] = column * window.s5 - window.sb;
    corner[m] = ((((long)n * depth + front[m]) * height + top[m]) * width + left[m]) * stride_c;
    place[m] = n * y_strides.s0 + slice * y_strides.s1 + row * y_strides.s2 + column * y_strides.s3;
    is_inside &= left[m] >= 0 && left[m] + (kernel_w - 1) * dilation_w < width;
    if (m + 1 < count && ++column == out_w) {
      column = 0;
      if (++row == out_h) {
        row = 0;
        if (++slice == out_d) {
          slice = 0;
          ++n;
        }
      }
    }
  }

  VEC sums[PIXELS][VECTORS];
  UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    VEC start = (VEC)(COMPUTE)0;
    if (after.s0) start = LOAD16(bias + bias_start + block * BLOCK + 16 * v);
    UNROLL
    for (int m = 0; m < PIXELS; ++m) sums[m][v] = start;
  }

  // Where a kernel row is contiguous in x and in the image for all pixels, it is one run.
  const int is_merged = is_inside && dilation_w == 1 && channels == stride_c;
  const int runs = is_merged ? 1 : kernel_w;
  const int run = is_merged ? kernel_w * channels : channels;
  for (int line = 0; line < window.s0 * window.s1; ++line) {
    const int kd = line / window.s1, kh = line - kd * window.s1;
    for (int kw = 0; kw < runs; ++kw, w += run * BLOCK) {
      const long down = ((long)kd * dilation_d * height + kh * dilation_h) * width;
      const long shift = (down + kw * dilation_w) * stride_c;
      __global const STORAGE *rows[PIXELS];
      UNROLL
      for (int m = 0; m < PIXELS; ++m) {
        const int is_slice = (uint)(front[m] + kd * dilation_d) < (uint)depth;
        const int is_row = (uint)(top[m] + kh * dilation_h) < (uint)height;
        const int is_column = is_merged || (uint)(left[m] + kw * dilation_w) < (uint)width;
        rows[m] = is_slice && is_row && is_column ? x + (corner[m] + shift) : outside;
      }
#ifdef SKIPS_OUTSIDE
      int is_full = 1;
      UNROLL
      for (int m = 0; m < PIXELS; ++m) is_full &= rows[m] != outside;
      if (!is_full) {
        UNROLL
        for (int m = 0; m < PIXELS; ++m)
          if (rows[m] != outside) accumulate_one(sums[m], rows[m], w, run);
        continue;
      }
#endif
      if (count == 1)
        accumulate_one(sums[0], rows[0], w, run);
      else
        accumulate(sums, rows, w, run);
    }
  }

  const long at = (long)group * output.s4 + get_global_id(1) * BLOCK;
  const int lanes = output.s4 - get_global_id(1) * BLOCK;
  const COMPUTE a = (COMPUTE)alpha, b = (COMPUTE)beta;
  residual += residual_start + at;
  y += y_start + at;
  if (count == PIXELS && lanes >= BLOCK && after.s2 == CLAMP) {
    UNROLL
    for (int m = 0; m < PIXELS; ++m)
      UNROLL
      for (int v = 0; v < VECTORS; ++v) {
        VEC sum = sums[m][v];
        if (after.s1) sum += LOAD16(residual + place[m] + 16 * v);
        STORE16(y + place[m] + 16 * v, clamped(sum, a, b));
      }
    return;
  }
  VEC spilled[PIXELS * VECTORS];
  UNROLL
  for (int i = 0; i < PIXELS * VECTORS; ++i) spilled[i] = sums[i / VECTORS][i % VECTORS];
  for (int m = 0; m < count; ++m)
    for (int v = 0; v * 16 < min(lanes, BLOCK); ++v) {
      const long here = place[m] + 16 * v;
      VEC sum = spilled[m * VECTORS + v];
      if (after.s1) sum += load_some(residual + here, lanes - 16 * v);
      store_some(y + here, activated(sum, after.s2, a, b), lanes - 16 * v);
    }
}

// One input channel per group. One work-item owns STRIP consecutive columns of one output row by
// 16 output channels. Global size: (ceil(OW / STRIP), N * OD * OH, ceil(outputs / 16)); local size 1.
//
// w: [taps][outputs, zero-filled to a multiple of 16]. output.s4 is the number of outputs per input
// channel; C times that is the number of outputs.
// Order of the sum: one accumulator per output, bias first, then taps row by row.
#define STRIP 8

inline VEC load_channels(__global const STORAGE *x, const int o, const int lanes,
                         const int multiplier) {
  if (multiplier == 1) return load_some(x + o, lanes);
  COMPUTE part[16] = {0};
  for (int i = 0; i < min(16, lanes); ++i) part[i] = LOAD(x, (o + i) / multiplier);
  return vload16(0, part);
}

__kernel void conv_depthwise(__global const STORAGE *x, const long x_start,
                             __global const STORAGE *w, const long w_start,
                             __global const STORAGE *bias, const long bias_start,
                             __global const STORAGE *residual, const long residual_start,
                             __global STORAGE *y, const long y_start, const int8 input,
                             const int8 output, const int16 window, const long4 y_strides,
                             const int4 after, const float alpha, const float beta) {
  const int depth = input.s0, height = input.s1, width = input.s2, channels = input.s3;
  const int out_d = output.s1, out_h = output.s2, out_w = output.s3, multiplier = output.s4;
  const int first = get_global_id(0) * STRIP, o = get_global_id(2) * 16;
  const int of_n = get_global_id(1) / out_h, row = get_global_id(1) - of_n * out_h;
  const int n = of_n / out_d, slice = of_n - n * out_d;
  const int lanes = channels * multiplier - o, padded = get_global_size(2) * 16;
  const int left = first * window.s5 - window.sb;
  x += x_start + (long)n * depth * height * width * channels;
  w += w_start + o;

  VEC sums[STRIP];
  VEC start = (VEC)(COMPUTE)0;
  if (after.s0) start = LOAD16(bias + bias_start + o);
  UNROLL
  for (int m = 0; m < STRIP; ++m) sums[m] = start;
  for (int line = 0; line < window.s0 * window.s1; ++line) {
    const int kd = line / window.s1, kh = line - kd * window.s1;
    const int id = slice * window.s3 - window.s9 + kd * window.s6;
    const int ih = row * window.s4 - window.sa + kh * window.s7;
    if ((uint)id >= (uint)depth || (uint)ih >= (uint)height) continue;
    for (int kw = 0; kw < window.s2; ++kw) {
      const VEC weights = LOAD16(w + (long)(line * window.s2 + kw) * padded);
      const int column = left + kw * window.s8;
      __global const STORAGE *at = x + (((long)id * height + ih) * width + column) * channels;
      if (lanes >= 16 && multiplier == 1 && column >= 0 &&
          column + (STRIP - 1) * window.s5 < width) {
        UNROLL
        for (int m = 0; m < STRIP; ++m)
          sums[m] = LOAD16(at + m * window.s5 * channels + o) * weights + sums[m];
      } else {
        UNROLL
        for (int m = 0; m < STRIP; ++m)
          if ((uint)(column + m * window.s5) < (uint)width)
            sums[m] = load_channels(at + m * window.s5 * channels, o, lanes, multiplier) * weights +
                      sums[m];
      }
    }
  }
  const COMPUTE a = (COMPUTE)alpha, b = (COMPUTE)beta;
  const long place = n * y_strides.s0 + slice * y_strides.s1 + row * y_strides.s2 + o;
  residual += residual_start + place;
  y += y_start + place;
  VEC spilled[STRIP];
  UNROLL
  for (int m = 0; m < STRIP; ++m) spilled[m] = sums[m];
  for (int m = 0; m < min(STRIP, out_w - first); ++m) {
    const long here = (first + m) * y_strides.s3;
    VEC sum = spilled[m];
    if (after.s1) sum += load_some(residual + here, lanes);
    store_some(y + here, activated(sum, after.s2, a, b), lanes);
  }
}

// Packs weights that are computed by the model into the arrangement of conv_tile.
// One work-item owns one row of BLOCK outputs. Global size: (max(depth, 1), blocks per group,
// groups) with depth = taps * channels; local size 1. `zeros` elements after the last block are set to
// 0 by the work-items of block 0 of group 0.
//   strides   in the source: between groups, outputs, channels, tap slices, tap rows, tap columns
//   taps      kernel_h, kernel_w, element offset of the first tap, depth
//   outputs, channels  of one group
__kernel void conv_pack(__global const STORAGE *source, const long source_start,
                        __global STORAGE *packed, const long packed_start, const long8 strides,
                        const int4 taps, const int outputs, const int channels, const int zeros) {
  const int k = get_global_id(0), depth = taps.s3, o = get_global_id(1) * BLOCK;
  const long block = get_global_id(2) * get_global_size(1) + get_global_id(1);
  packed += packed_start;
  if (k < depth) {
    const int c = k % channels, kw = k / channels % taps.s1, line = k / channels / taps.s1;
    source += source_start + taps.s2 + get_global_id(2) * strides.s0 + o * strides.s1 +
              c * strides.s2 + line / taps.s0 * strides.s3 + line % taps.s0 * strides.s4 +
              kw * strides.s5;
    for (int i = 0; i < BLOCK; ++i) {
      const COMPUTE value = o + i < outputs ? LOAD(source, i * strides.s1) : (COMPUTE)0;
      STORE(packed, (block * depth + k) * BLOCK + i, value);
    }
  }
  if (block == 0) {
    const long end = get_global_size(2) * get_global_size(1) * (long)depth * BLOCK;
    for (int i = k; i < zeros; i += max(depth, 1)) STORE(packed, end + i, (COMPUTE)0);
  }
}
