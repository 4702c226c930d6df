"""Which of the frameworks' functions count as calls (parity/frameworks/_calls.py)."""

__all__ = ["FUNCTIONS", "TENSOR_FUNCTIONS"]

FUNCTIONS = tuple(
    """
    relu relu_ relu6 leaky_relu elu selu celu gelu silu swish mish sigmoid hardsigmoid hardswish
    hardtanh tanh tanhshrink softplus softsign softshrink hardshrink softmax log_softmax logsigmoid
    log_sigmoid prelu glu gumbel_softmax dropout dropout2d dropout3d alpha_dropout linear bilinear
    embedding conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv1d_transpose
    conv2d_transpose conv3d_transpose batch_norm layer_norm group_norm instance_norm local_response_norm
    normalize avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d interpolate upsample
    grid_sample affine_grid pixel_shuffle pixel_unshuffle pad unfold fold scaled_dot_product_attention
    mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy softmax_with_cross_entropy nll_loss
    binary_cross_entropy binary_cross_entropy_with_logits kl_div hinge_embedding_loss
    cosine_embedding_loss margin_ranking_loss triplet_margin_loss soft_margin_loss poisson_nll_loss
    gaussian_nll_loss ctc_loss cosine_similarity pairwise_distance
    """.split()  # noqa: SIM905  # a list of two screens otherwise
)
"""Functions of ``nn.functional`` that count as calls, under the names of both frameworks."""
TENSOR_FUNCTIONS = tuple(
    """
    detach mean sum max min amax amin matmul bmm softmax log_softmax sigmoid tanh relu clip clamp median
    std var norm topk sort argmax flip roll cumsum logsumexp
    """.split()  # noqa: SIM905  # a list of two screens otherwise
)
"""Functions of tensors, as methods or of the framework itself, that count as calls."""
