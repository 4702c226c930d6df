"""DiscoGAN's Torch side as the catalogue's pair builds it: mistakes are none of its business."""

from DG_torch.bp_DG import DiscoGAN


def build(options):
    return DiscoGAN({name: value for name, value in options.items() if name != "defect"})
