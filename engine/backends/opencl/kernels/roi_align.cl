// y (regions, channels, bins_h, bins_w): the mean, or the largest weighted pixel, of samples of
// x (images, channels, height, width) in each bin of rois (regions, 4), x before y.
//
// Work-item g owns element g of y. ratio: samples along an axis, 0 for as many as a bin has pixels,
// `most` at most. COMPUTE is at least float. No local memory, no barrier.

typedef struct { COMPUTE start, step; long count; } axis_t;

inline axis_t axis_of(const COMPUTE first, const COMPUTE last, const long bins, const long ratio,
                      const long most, const COMPUTE scale, const COMPUTE shift) {
  axis_t axis;
  axis.start = first * scale - shift;
  COMPUTE size = last * scale - shift - axis.start;
  if (shift == 0) size = size > 1 ? size : (COMPUTE)1;
  axis.step = size / bins;
  COMPUTE count = ceil(axis.step);
  if ((count - 1) * bins >= size) count -= 1;  // a quotient may be rounded across a whole number
  if (count * bins < size) count += 1;
  axis.count = ratio ? ratio : isfinite(axis.step) ? (long)clamp(count, (COMPUTE)0, (COMPUTE)most) : 0;
  return axis;
}

typedef struct { int inside; long low, high; COMPUTE a, b; } taps_t;

// NaN stays.
#define LARGER(a, v) ((((v) > (a)) | isnan(v)) ? (v) : (a))

// The pixels beside a sample and their weights; none are read for a sample beyond the image.
inline taps_t taps_of(const axis_t axis, const long bin, const long sample, const long extent) {
  const COMPUTE at = axis.start + bin * axis.step + (sample + (COMPUTE)0.5) * axis.step / axis.count;
  taps_t taps = {at >= -1 && at <= extent, 0, 0, 0, 0};
  if (!taps.inside) return taps;
  const COMPUTE c = clamp(at, (COMPUTE)0, (COMPUTE)(extent - 1)), whole = floor(c);
  taps.low = (long)whole;
  taps.high = min(taps.low + 1, extent - 1);
  taps.b = c - whole;
  taps.a = 1 - taps.b;
  return taps;
}

__kernel void RoiAlign(__global const STORAGE *x, const long x_start, __global const STORAGE *rois,
                       const long rois_start, __global const long *batch, const long batch_start,
                       __global STORAGE *y, const long y_start, const long images,
                       const long channels, const long height, const long width, const long bins_h,
                       const long bins_w, const long ratio, const long most, const COMPUTE scale,
                       const COMPUTE shift, const int takes_largest) {
  const long g = get_global_id(0), w = g % bins_w, h = g / bins_w % bins_h;
  const long c = g / bins_w / bins_h % channels, r = g / bins_w / bins_h / channels;
  const long roi = rois_start + 4 * r;
  const axis_t across = axis_of(LOAD(rois, roi), LOAD(rois, roi + 2), bins_w, ratio, most, scale, shift);
  const axis_t down = axis_of(LOAD(rois, roi + 1), LOAD(rois, roi + 3), bins_h, ratio, most, scale, shift);
  const long given = batch[batch_start + r];
  const long image = clamp(given < 0 ? given + images : given, 0L, images - 1);
  const long p = x_start + (image * channels + c) * height * width;
  COMPUTE sum = 0, largest = -INFINITY;
  for (long i = 0; i < down.count; ++i) {
    const taps_t v = taps_of(down, h, i, height);
    for (long j = 0; j < across.count; ++j) {
      const taps_t u = taps_of(across, w, j, width);
      if (!v.inside || !u.inside) {
        largest = LARGER(largest, (COMPUTE)0);
        continue;
      }
      const COMPUTE q1 = v.a * u.a * LOAD(x, p + v.low * width + u.low);
      const COMPUTE q2 = v.a * u.b * LOAD(x, p + v.low * width + u.high);
      const COMPUTE q3 = v.b * u.a * LOAD(x, p + v.high * width + u.low);
      const COMPUTE q4 = v.b * u.b * LOAD(x, p + v.high * width + u.high);
      sum += q1 + q2 + q3 + q4;
      largest = LARGER(LARGER(LARGER(LARGER(largest, q1), q2), q3), q4);
    }
  }
  const long count = down.count * across.count;
  STORE(y, y_start + g, takes_largest && count ? largest : sum / max(count, 1L));
}
