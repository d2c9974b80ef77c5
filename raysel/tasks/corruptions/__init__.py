"""The corruptions of CIFAR-10-C and ImageNet-C that the papers tune under, at severities 1 to 5.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (2019), define them; the automatic and the surgical paper use these 14 of their
19. The code is raysel's own and needs neither OpenCV nor ImageMagick nor the six pictures of
frost, so an image is of the published kind and strength but not the published image; the
published files themselves are read by the data set `cifar10c`.

A corruption acts on one image [h, w, c] in [0, 1], whatever its size and its channels.
"""

from raysel.tasks.corruptions import blur, digital, noise, weather
from raysel.tasks.corruptions.image import Corruption

CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        *(noise.gaussian_noise, noise.impulse_noise, noise.shot_noise, noise.speckle_noise),
        *(blur.gaussian_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
        *(weather.frost, weather.snow, weather.spatter),
        *(digital.jpeg_compression, digital.pixelate, digital.saturate),
    )
}
"""Every corruption by its kind: from an image, its parameters (`raysel.tasks.corruptions.severity`)
and a generator to the corrupted image, which may leave [0, 1]."""

__all__ = ["CORRUPTIONS", "Corruption"]
