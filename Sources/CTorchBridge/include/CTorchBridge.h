/* A C face on the parts of LibTorch that Weir uses.
 *
 * Every function that can fail returns a wt_status. WT_FAILED leaves a message for the calling thread, read with
 * wt_last_error() before the thread's next call; *out is then untouched. Handles are owned by the caller and freed once.
 * A handle may be used from any thread, but not from two at once when one of them writes to the tensor.
 * Modes (wt_mode_begin) belong to the calling thread and end in the reverse order of their beginning. */
#ifndef CTORCHBRIDGE_H
#define CTORCHBRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wt_tensor_s *wt_tensor;
typedef struct wt_mode_s *wt_mode;
typedef struct wt_archive_s *wt_archive;
typedef struct wt_meter_s *wt_meter;
typedef struct wt_group_s *wt_group;

typedef enum wt_status { WT_OK = 0, WT_FAILED = 1 } wt_status;

typedef enum wt_dtype { WT_F32 = 0, WT_BF16, WT_F16, WT_I64, WT_U8, WT_F64, WT_BOOL } wt_dtype;

typedef enum wt_mode_kind { WT_NO_GRADIENTS = 0, WT_INFERENCE, WT_AUTOCAST } wt_mode_kind;

typedef enum wt_unary_op {
  WT_NEG = 0, WT_EXP, WT_LOG, WT_SQRT, WT_RSQRT, WT_TANH, WT_SIGMOID, WT_SILU, WT_RELU, WT_GELU, WT_ABS, WT_SQUARE, WT_SIN, WT_COS
} wt_unary_op;

typedef enum wt_binary_op { WT_ADD = 0, WT_SUB, WT_MUL, WT_DIV, WT_MATMUL, WT_BMM, WT_MAXIMUM, WT_MINIMUM } wt_binary_op;

typedef enum wt_layout { WT_CONTIGUOUS = 0, WT_CHANNELS_LAST } wt_layout;

typedef enum wt_reduction { WT_SUM = 0, WT_MEAN } wt_reduction;

typedef enum wt_activation { WT_NO_ACTIVATION = 0, WT_ACTIVATION_SILU, WT_ACTIVATION_RELU } wt_activation;

/* ---- the library ---- */
const char *wt_last_error(void);
int64_t wt_live_handles(void);
const char *wt_version(void);        /* static storage */
const char *wt_cpu_capability(void); /* static storage */
bool wt_cuda_available(void);
/* Whether this CPU multiplies bf16, as the kernels of this bridge then do. */
bool wt_multiplies_bf16(void);
wt_status wt_set_threads(int32_t count);
int32_t wt_threads(void);
wt_status wt_manual_seed(uint64_t seed);
void wt_keep_freed_memory(void);
wt_status wt_mode_begin(wt_mode_kind kind, const char *autocast_device, wt_dtype autocast_dtype, wt_mode *out);
/* LibTorch's operations of the calling thread run on it alone, the bridge's own kernels on `kernel_threads`. */
wt_status wt_one_thread_begin(int32_t kernel_threads, wt_mode *out);
wt_status wt_mode_end(wt_mode mode);
/* Between the two calls: the most bytes that the calling thread's tensors took at a time, of those made there. */
wt_status wt_meter_begin(wt_meter *out);
int64_t wt_meter_end(wt_meter meter);

/* ---- construction, reading ---- */
void wt_free(wt_tensor tensor);
/* Copies `bytes` bytes; they must be exactly the shape's. */
wt_status wt_from_bytes(
    const void *data, size_t bytes, wt_dtype dtype, const int64_t *shape, size_t rank, const char *device, wt_tensor *out);
wt_status wt_full(double value, wt_dtype dtype, const int64_t *shape, size_t rank, const char *device, wt_tensor *out);
wt_status wt_zeros_like(wt_tensor tensor, wt_tensor *out);
wt_status wt_randn(uint64_t seed, const int64_t *shape, size_t rank, wt_tensor *out);
wt_status wt_rank(wt_tensor tensor, size_t *out);
wt_status wt_shape(wt_tensor tensor, int64_t *out, size_t rank);
wt_status wt_strides(wt_tensor tensor, int64_t *out, size_t rank);
wt_status wt_count(wt_tensor tensor, int64_t *out);
wt_status wt_dtype_of(wt_tensor tensor, wt_dtype *out);
/* Writes a zero-terminated "cpu" or "cuda:0". */
wt_status wt_device_of(wt_tensor tensor, char *out, size_t capacity);
/* The elements in row-major order, converted to `dtype`, into exactly `bytes` bytes. */
wt_status wt_read(wt_tensor tensor, wt_dtype dtype, void *out, size_t bytes);
wt_status wt_item(wt_tensor tensor, double *out);
wt_status wt_all_finite(wt_tensor tensor, bool *out);

/* ---- PyTorch's files: a zip of records ---- */
wt_status wt_archive_open(const char *path, wt_archive *out);
void wt_archive_close(wt_archive archive);
wt_status wt_archive_has(wt_archive archive, const char *record, bool *out);
wt_status wt_archive_size(wt_archive archive, const char *record, size_t *out);
/* The record has to have exactly so many bytes. */
wt_status wt_archive_read(wt_archive archive, const char *record, void *out, size_t bytes);

/* ---- elementwise ---- */
wt_status wt_unary(wt_unary_op op, wt_tensor x, wt_tensor *out);
wt_status wt_binary(wt_binary_op op, wt_tensor a, wt_tensor b, wt_tensor *out);
wt_status wt_binary_scalar(wt_binary_op op, wt_tensor a, double b, wt_tensor *out);
wt_status wt_clamp(wt_tensor x, double low, double high, wt_tensor *out);
wt_status wt_pow(wt_tensor x, double exponent, wt_tensor *out);
wt_status wt_dropout(wt_tensor x, double probability, bool training, wt_tensor *out);

/* ---- reductions ---- */
/* dims NULL or count 0: over everything. */
wt_status wt_reduce(wt_reduction op, wt_tensor x, const int64_t *dims, size_t count, bool keep, wt_tensor *out);
wt_status wt_softmax(wt_tensor x, int64_t dim, wt_tensor *out);
wt_status wt_argmax(wt_tensor x, int64_t dim, wt_tensor *out);

/* ---- shape ---- */
wt_status wt_reshape(wt_tensor x, const int64_t *shape, size_t rank, wt_tensor *out);
wt_status wt_expand(wt_tensor x, const int64_t *shape, size_t rank, wt_tensor *out);
wt_status wt_permute(wt_tensor x, const int64_t *dims, size_t rank, wt_tensor *out);
wt_status wt_transpose(wt_tensor x, int64_t a, int64_t b, wt_tensor *out);
wt_status wt_unsqueeze(wt_tensor x, int64_t dim, wt_tensor *out);
wt_status wt_squeeze(wt_tensor x, int64_t dim, wt_tensor *out);
wt_status wt_narrow(wt_tensor x, int64_t dim, int64_t start, int64_t length, wt_tensor *out);
wt_status wt_flip(wt_tensor x, int64_t dim, wt_tensor *out);
wt_status wt_cat(const wt_tensor *tensors, size_t count, int64_t dim, wt_tensor *out);
wt_status wt_stack(const wt_tensor *tensors, size_t count, int64_t dim, wt_tensor *out);
wt_status wt_index_select(wt_tensor x, int64_t dim, wt_tensor indices, wt_tensor *out);
wt_status wt_contiguous(wt_tensor x, wt_layout layout, wt_tensor *out);
wt_status wt_is_contiguous(wt_tensor x, wt_layout layout, bool *out);
wt_status wt_to_dtype(wt_tensor x, wt_dtype dtype, wt_tensor *out);
wt_status wt_to_device(wt_tensor x, const char *device, wt_tensor *out);
wt_status wt_clone(wt_tensor x, wt_tensor *out);

/* ---- linear algebra ---- */
/* Of a matrix, descending. */
wt_status wt_singular_values(wt_tensor x, wt_tensor *out);
/* R of x = QR, with as many rows as x has rows or columns, whichever are fewer. */
wt_status wt_triangular(wt_tensor x, wt_tensor *out);

/* ---- networks; bias, weight, scale, shift may be NULL where said ---- */
wt_status wt_linear(wt_tensor x, wt_tensor weight, wt_tensor bias /* NULL */, wt_tensor *out);
wt_status wt_conv2d(
    wt_tensor x, wt_tensor weight, wt_tensor bias /* NULL */, int64_t stride, int64_t padding, int64_t groups, wt_tensor *out);
/* Zeros around the last two dimensions. */
wt_status wt_pad2d(wt_tensor x, int64_t left, int64_t right, int64_t top, int64_t bottom, wt_tensor *out);
wt_status wt_group_norm(wt_tensor x, int64_t groups, wt_tensor weight /* NULL */, wt_tensor bias /* NULL */, double eps, wt_tensor *out);
wt_status wt_embedding(wt_tensor weight, wt_tensor indices, wt_tensor *out);
wt_status wt_upsample_nearest2x(wt_tensor x, wt_tensor *out);
wt_status wt_avg_pool2x2(wt_tensor x, wt_tensor *out);
wt_status wt_upsample_bilinear(wt_tensor x, int64_t height, int64_t width, wt_tensor *out);
/* With antialiasing where it gets smaller, as Pillow's. */
wt_status wt_resize_bicubic(wt_tensor x, int64_t height, int64_t width, wt_tensor *out);
/* GroupNorm, affine, x*(1+scale)+shift, SiLU; see GroupNorm.cpp. Not differentiable. `overwrite`: the result may be put where x is. */
wt_status wt_fused_group_norm(
    wt_tensor x, int64_t groups, wt_tensor weight /* NULL */, wt_tensor bias /* NULL */, double eps, wt_tensor scale /* NULL */,
    wt_tensor shift /* NULL */, bool silu, bool overwrite, wt_tensor *out);
/* The same, differentiable: (N, C, H, W) on the CPU, C a multiple of 16; scale and shift are (N, C), both or neither. The output is
 * channels-last. */
wt_status wt_trained_group_norm(
    wt_tensor x, int64_t groups, wt_tensor weight, wt_tensor bias, double eps, wt_tensor scale /* NULL */, wt_tensor shift /* NULL */,
    bool silu, wt_tensor *out);
/* A convolution weight in oneDNN's own order, good only for wt_conv2d_packed with the same stride and padding. `input` is the shape
 * (N, C, H, W) it will mostly meet, for which the order is chosen; other shapes work, but may cost a reorder at every call. */
wt_status wt_pack_conv2d_weight(wt_tensor weight, int64_t stride, int64_t padding, const int64_t input[4], wt_tensor *out);
/* activation(conv2d(x) + bias + residual), CPU, not differentiable. */
wt_status wt_conv2d_packed(
    wt_tensor x, wt_tensor packed, wt_tensor bias /* NULL */, wt_tensor residual /* NULL */, int64_t stride, int64_t padding,
    wt_activation activation, wt_tensor *out);
/* A 3x3 filter for wt_conv2d_winograd: f32, or bf16 for x in bf16. Takes four times the filter's memory, its channels filled up to multiples of 16. */
wt_status wt_pack_winograd_weight(wt_tensor weight, wt_tensor *out);
/* conv2d(x) + bias + residual with stride and padding 1, of a filter with `channels` outputs; see WinogradConvolution.cpp. f32 or
 * bf16 on the CPU, as the filter was; the output is x's type and channels-last. Not differentiable. */
wt_status wt_conv2d_winograd(
    wt_tensor x, wt_tensor packed, int64_t channels, wt_tensor bias /* NULL */, wt_tensor residual /* NULL */, wt_tensor *out);
/* A 1x1 filter for wt_conv2d_pointwise: f32, or bf16 for x in bf16, channels in multiples of 16. */
wt_status wt_pack_pointwise_weight(wt_tensor weight, wt_tensor *out);
/* conv2d(x) + bias + residual of a 1x1 filter with stride 1; see PointwiseConvolution.cpp. As wt_conv2d_winograd otherwise. */
wt_status wt_conv2d_pointwise(wt_tensor x, wt_tensor packed, wt_tensor bias /* NULL */, wt_tensor residual /* NULL */, wt_tensor *out);
/* softmax(q k' / sqrt(width)) v of qkv (N, 3 * heads * width, H, W), whose channels are {q,k,v}, then heads (`new_order`) or heads, then {q,k,v}; see
 * Attention.cpp. f32 or bf16 on the CPU, width in multiples of 16; the output is channels-last. Not differentiable. */
wt_status wt_attention(wt_tensor qkv, int64_t heads, bool new_order, wt_tensor *out);
/* x and y side by side in their channels; x with each pixel four times; x with the mean of each 2x2 pixels. (N, C, H, W) in f32 or bf16 on the CPU, C in
 * multiples of 16; see Resampling.cpp. The output is channels-last. Not differentiable. */
wt_status wt_join_channels(wt_tensor x, wt_tensor y, wt_tensor *out);
wt_status wt_enlarge2x(wt_tensor x, wt_tensor *out);
wt_status wt_shrink2x(wt_tensor x, wt_tensor *out);
/* conv2d(x) + bias with stride and padding 1, as wt_conv2d_winograd, differentiable; `weight` is (out, in, 3, 3) as it is. */
wt_status wt_conv2d_trained(wt_tensor x, wt_tensor weight, wt_tensor bias, wt_tensor *out);
/* Whether oneDNN convolves bf16 on this processor: otherwise wt_pack_conv2d_weight and wt_conv2d_packed refuse it. */
bool wt_packs_bf16(void);

/* ---- gradients ---- */
wt_status wt_set_requires_grad(wt_tensor x, bool value);
wt_status wt_requires_grad(wt_tensor x, bool *out);
/* *out is NULL when there is no gradient. */
wt_status wt_grad(wt_tensor x, wt_tensor *out);
wt_status wt_clear_grad(wt_tensor x);
wt_status wt_backward(wt_tensor x);
wt_status wt_detach(wt_tensor x, wt_tensor *out);

/* ---- in place ---- */
wt_status wt_copy_(wt_tensor x, wt_tensor source);
wt_status wt_add_(wt_tensor x, wt_tensor other, double factor);
wt_status wt_mul_(wt_tensor x, double factor);
wt_status wt_zero_(wt_tensor x);
wt_status wt_lerp_(const wt_tensor *xs, const wt_tensor *ends, size_t count, double weight);

/* ---- training ---- */
/* Scales the gradients so that their joint L2 norm is at most max_norm; gives the norm they had. */
wt_status wt_clip_grad_norm(const wt_tensor *parameters, size_t count, double max_norm, double *out);
/* One AdamW step (decoupled weight decay) with bias correction for `step` (1 for the first); parameters without gradient stay. */
wt_status wt_adamw_step(
    const wt_tensor *parameters, const wt_tensor *first_moments, const wt_tensor *second_moments, size_t count, int64_t step, double rate,
    double beta1, double beta2, double eps, double weight_decay);

/* ---- several processes ---- */
/* Waits for all `count` processes at host:port, where the one of rank 0 listens. No later call waits for another process longer than the timeout.
 * From now on this process ignores SIGPIPE. */
wt_status wt_group_join(const char *host, uint16_t port, int32_t rank, int32_t count, int64_t timeout_milliseconds, wt_group *out);
/* The mean over all processes in place of each parameter's gradient, and of *value: f32. Parameters without gradient are left out. */
wt_status wt_group_average_gradients(wt_group group, const wt_tensor *parameters, size_t count, double *value);
/* values[r] becomes what the process of rank r gave as `own`. */
wt_status wt_group_gather(wt_group group, double own, double *values, size_t count);
wt_status wt_group_leave(wt_group group);

#ifdef __cplusplus
}
#endif
#endif
