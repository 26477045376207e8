// y (N, out, oH, oW) = a convolution of x (N, channels, H, W) with w (out, channels / group, kH, kW)
// whose taps are moved by offset (N, groups, kH, kW, 2, oH, oW), rows first, and weighted by mask
// (N, groups, kH, kW, oH, oW); bias (out). What is not given is not read.
//
// Work-item (q, g) owns the pixel q of all N oH oW, and the output channels of group g, CHUNK of them
// at a time. COMPUTE is at least float. No local memory, no barrier.

#define CHUNK 16

// A pixel of an image, 0 beyond it.
inline COMPUTE pixel(__global const STORAGE *x, const long image, const dims_t size, const long i,
                     const long j) {
  const bool is_inside = i >= 0 && i < size.a[0] && j >= 0 && j < size.a[1];
  return is_inside ? LOAD(x, image + i * size.a[1] + j) : (COMPUTE)0;
}

// Between four pixels; 0 a pixel away from the image and beyond, and where a position is NaN.
inline COMPUTE between(__global const STORAGE *x, const long image, const dims_t size,
                       const COMPUTE r, const COMPUTE c) {
  if (!(r > -1 && r < size.a[0] && c > -1 && c < size.a[1])) return 0;
  const COMPUTE top = floor(r), left = floor(c), down = r - top, right = c - left;
  const long i = (long)top, j = (long)left;
  return (1 - down) * ((1 - right) * pixel(x, image, size, i, j) +
                       right * pixel(x, image, size, i, j + 1)) +
         down * ((1 - right) * pixel(x, image, size, i + 1, j) +
                 right * pixel(x, image, size, i + 1, j + 1));
}

__kernel void DeformConv(__global const STORAGE *x, const long x_start, __global const STORAGE *w,
                         const long w_start, __global const STORAGE *offset,
                         const long offset_start, __global const STORAGE *bias,
                         const long bias_start, __global const STORAGE *mask,
                         const long mask_start, __global STORAGE *y, const long y_start,
                         const dims_t size, const dims_t outputs, const dims_t kernel_size,
                         const dims_t strides, const dims_t dilations, const dims_t begins,
                         const long channels, const long out, const long group, const long groups,
                         const int has_bias, const int has_mask) {
  const long q = get_global_id(0), g = get_global_id(1);
  const long places = outputs.a[0] * outputs.a[1], n = q / places, p = q % places;
  const long taps = kernel_size.a[0] * kernel_size.a[1];
  const long each = channels / group, share = channels / groups, last = (g + 1) * (out / group);
  const long row = p / outputs.a[1] * strides.a[0] - begins.a[0];
  const long column = p % outputs.a[1] * strides.a[1] - begins.a[1];
  for (long first = g * (out / group); first < last; first += CHUNK) {
    const int count = (int)min((long)CHUNK, last - first);
    COMPUTE sum[CHUNK];
    for (int k = 0; k < count; ++k) sum[k] = has_bias ? LOAD(bias, bias_start + first + k) : 0;
    for (long c = 0; c < each; ++c) {
      const long channel = g * each + c;
      const long image = x_start + (n * channels + channel) * size.a[0] * size.a[1];
      for (long t = 0; t < taps; ++t) {
        const long o = (n * groups + channel / share) * taps + t;
        const long i = row + t / kernel_size.a[1] * dilations.a[0];
        const long j = column + t % kernel_size.a[1] * dilations.a[1];
        const COMPUTE r = i + LOAD(offset, offset_start + 2 * o * places + p);
        const COMPUTE s = j + LOAD(offset, offset_start + (2 * o + 1) * places + p);
        COMPUTE v = between(x, image, size, r, s);
        if (has_mask) v *= LOAD(mask, mask_start + o * places + p);
        for (int k = 0; k < count; ++k)
          sum[k] += v * LOAD(w, w_start + ((first + k) * each + c) * taps + t);
      }
    }
    for (int k = 0; k < count; ++k) STORE(y, y_start + (n * out + first + k) * places + p, sum[k]);
  }
}
