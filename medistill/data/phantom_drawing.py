"""A drawing of a frontal chest phantom: thickness maps of soft tissue, air and bone, summed and shown as a radiograph.

Coordinates run over the image: x from -1 (left, the patient's right) to 1, y from -1 (top) to 1. Every structure is a
smooth field over the whole grid, in units of the attenuation of the chest wall, so no loop runs over pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Finding = Literal["Normal", "COVID", "Pneumonia"]
FINDINGS: tuple[Finding, ...] = ("Normal", "COVID", "Pneumonia")
Marker = Literal["L", "R"]
_GLYPHS = {
    "L": ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    "R": ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
}


@dataclass(frozen=True)
class Habitus:
    """How one invented patient is built; the same in each of the patient's images.

    Attributes:
        width: half width of the lungs' outer border.
        wall: attenuation of the chest wall, 1 for the mean patient.
        heart: radius of the heart.
        tilt: slope of the ribs.
        spacing: distance between ribs.
        domes: height of the diaphragm's domes.
        base: y of the diaphragm's lowest border.
        breast: attenuation of the breast shadows, 0 for none.
        bubble: attenuation of the air in the stomach.
        vessels: strength of the lungs' vessels.
    """

    width: float
    wall: float
    heart: float
    tilt: float
    spacing: float
    domes: float
    base: float
    breast: float
    bubble: float
    vessels: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sex: Literal["F", "M"]) -> Habitus:
        """Invent a patient."""
        return cls(
            width=rng.uniform(0.66, 0.82),
            wall=float(np.clip(rng.lognormal(0, 0.14), 0.75, 1.4)),
            heart=rng.uniform(0.25, 0.34),
            tilt=rng.uniform(0.16, 0.34),
            spacing=rng.uniform(0.135, 0.16),
            domes=rng.uniform(0.14, 0.24),
            base=rng.uniform(0.62, 0.76),
            breast=rng.uniform(0.05, 0.2) if sex == "F" else 0.0,
            bubble=rng.uniform(0, 0.45),
            vessels=rng.uniform(0.6, 1.3),
        )


@dataclass(frozen=True)
class Exposure:
    """How one image was taken.

    Attributes:
        angle: rotation in radians.
        shift: displacement (x, y).
        zoom: magnification.
        inspiration: how far the diaphragm went down.
        gamma: exponent of the display curve.
        brightness: shift of the display curve, as a share of full scale.
        dose: mean quanta a pixel behind the chest wall; fewer make more noise.
        blur: standard deviation of the detector's blur, as a share of the image's side.
        marker: side letter burnt in.
    """

    angle: float
    shift: tuple[float, float]
    zoom: float
    inspiration: float
    gamma: float
    brightness: float
    dose: float
    blur: float
    marker: Marker

    @classmethod
    def draw(cls, rng: np.random.Generator, *, supine: bool) -> Exposure:
        """Invent how an image was taken; one of a lying patient is larger, less inspired and noisier."""
        return cls(
            angle=rng.normal(0, 0.03),
            shift=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
            zoom=rng.uniform(0.98, 1.12) if supine else rng.uniform(0.92, 1.06),
            inspiration=rng.uniform(-0.08, 0.01) if supine else rng.uniform(-0.03, 0.04),
            gamma=rng.uniform(0.8, 1.25),
            brightness=rng.normal(0, 0.035),
            dose=rng.uniform(300, 900) if supine else rng.uniform(500, 2500),
            blur=rng.uniform(0.0015, 0.004),
            marker="R" if rng.random() < 0.6 else "L",
        )


@dataclass(frozen=True)
class _Canvas:
    """The grid in the patient's frame, the drawing's generator and its noise."""

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray
    rng: np.random.Generator

    def noise(self, length: float) -> np.ndarray:
        """Smooth Gaussian noise (H, W) of unit variance with a correlation length in units of the grid."""
        size = self.x.shape[0]
        spectrum = np.fft.rfft2(self.rng.standard_normal((size, size), np.float32))
        spectrum *= _gaussian_response(size, length * size / 2)
        field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
        return field / (field.std() + 1e-6)


def draw_phantom(
    habitus: Habitus,
    exposure: Exposure,
    finding: Finding,
    severity: float,
    size: int,
    disease: np.random.Generator,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw one image (size, size) float32, 0 black (air) to 1 white (bone), as a person wants to see it.

    Args:
        habitus: the patient.
        exposure: the image.
        finding: the class.
        severity: attenuation of the opacities, 0 invisible to 1 dense.
        size: height and width in pixels.
        disease: places the opacities; the same state for each image of a patient puts them where they were.
        rng: texture and noise of this image.
    """
    canvas = _canvas(exposure, size, rng)
    x, y, side = canvas.x, canvas.y, canvas.side
    lungs, outer = _lungs(canvas, habitus, exposure)
    heart = _heart(canvas, habitus)
    air = lungs * (1 - 0.8 * heart)
    bend = np.clip(1 - (x / _body_half_width(y, habitus)) ** 2, 0, 1)
    body = _step(bend / 0.05) * 2 - 1
    thickness = habitus.wall * body * (0.62 + 0.38 * np.sqrt(bend)) * (1.0 + 0.22 * _step((y - 0.55) / 0.12))
    thickness -= 0.62 * habitus.wall**0.5 * air
    thickness += 0.3 * heart * lungs + 0.16 * np.exp(-((x / 0.13) ** 2)) * body
    thickness += _bones(canvas, habitus, outer) * body
    thickness += _vessels(canvas, habitus) * air
    thickness += _opacities(canvas, finding, severity, outer, exposure, disease) * air
    if habitus.breast:
        distance = ((side * x - 0.42) / 0.34) ** 2 + ((y - 0.28) / 0.3) ** 2
        thickness += habitus.breast * np.sqrt(np.clip(1 - distance, 0, 1)) * (0.5 + 0.5 * _step((y - 0.2) / 0.1))
    thickness -= 0.1 * np.exp(-((x - 0.01) ** 2) / 0.0012) * _step((-0.36 - y) / 0.04) * body
    bubble = ((x - 0.36) / 0.19) ** 2 + ((y - habitus.base - exposure.inspiration - 0.03) / 0.08) ** 2
    thickness -= habitus.bubble * _step((1 - bubble) / 0.25) * body * (1 - lungs)
    return _show(np.maximum(thickness, 0), exposure, rng)


def _canvas(exposure: Exposure, size: int, rng: np.random.Generator) -> _Canvas:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) / exposure.zoom
    column, row = axis[None, :] - exposure.shift[0], axis[:, None] - exposure.shift[1]
    cos, sin = np.float32(np.cos(exposure.angle)), np.float32(np.sin(exposure.angle))
    x = cos * column + sin * row
    y = cos * row - sin * column
    return _Canvas(x, y, np.where(x < 0, np.float32(-1), np.float32(1)), rng)


def _step(value: np.ndarray) -> np.ndarray:
    """A smooth step from 0 to 1, half at 0."""
    return 0.5 + 0.5 * np.tanh(value)


def _gaussian_response(size: int, sigma: float) -> np.ndarray:
    """Fourier response of a Gaussian blur of ``sigma`` pixels on the half spectrum (size, size // 2 + 1)."""
    rows = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(size)) ** 2)
    columns = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(size)) ** 2)
    return (rows[:, None] * columns[None, :]).astype(np.float32)


def _body_half_width(y: np.ndarray, habitus: Habitus) -> np.ndarray:
    shoulders = _step((y + 0.84 - 0.02 * habitus.wall) / 0.07)
    return 0.24 + (habitus.width + 0.12 * habitus.wall - 0.12) * shoulders + 0.05 * np.clip(-y, 0, 1) * shoulders


def _lungs(canvas: _Canvas, habitus: Habitus, exposure: Exposure) -> tuple[np.ndarray, np.ndarray]:
    """How much of the path is lung, 0 to 1, and x of the outer border at each y, both (H, W)."""
    x, y, side = canvas.x, canvas.y, canvas.side
    depth = np.abs(x)
    top = -0.78
    base = habitus.base + exposure.inspiration + np.where(side < 0, np.float32(-0.035), np.float32(0.015))
    down = np.clip((y - top) / (base - top), 0, 1)
    swell = np.sqrt(np.clip(1 - (1 - down) ** 2.4, 0, 1))
    centre = 0.27 + (habitus.width - 0.56) * down
    outer = centre + (habitus.width - 0.02 - centre) * swell * (1 - 0.05 * down)
    inner = np.maximum(centre - 0.34 * swell, 0.1 + 0.035 * down)
    dome = base - habitus.domes * np.clip(1 - ((depth - 0.38) / 0.42) ** 2, -0.4, 1)
    edge = 0.022
    inside = _step((depth - inner) / 0.03) * _step((outer - depth) / edge) * _step((dome - y) / edge)
    inside *= _step((y - top) / 0.03)
    round_off = np.clip((outer - depth) / 0.22, 0, 1)
    return inside * (0.72 + 0.28 * np.sqrt(round_off)) * (0.82 + 0.18 * down), outer


def _heart(canvas: _Canvas, habitus: Habitus) -> np.ndarray:
    """The heart, the aortic arch and the great vessels, 0 to 1 (H, W)."""
    x, y, radius = canvas.x, canvas.y, habitus.heart
    u, v = x - 0.42 * radius, y - 0.36
    along, across = 0.8 * u + 0.6 * v, 0.8 * v - 0.6 * u
    ventricles = _step((1 - (along / (1.28 * radius)) ** 2 - (across / (0.88 * radius)) ** 2) / 0.12)
    atrium = _step((1 - ((x + 0.07) / (0.42 * radius)) ** 2 - ((y - 0.28) / (0.85 * radius)) ** 2) / 0.3)
    waist = _step((1 - ((x - 0.1) / 0.15) ** 2 - ((y - 0.12) / 0.24) ** 2) / 0.3)
    arch = _step((1 - ((x - 0.1) / 0.1) ** 2 - ((y + 0.26) / 0.11) ** 2) / 0.3)
    outflow = _step((1 - ((x - 0.06) / 0.14) ** 2 - ((y + 0.02) / 0.24) ** 2) / 0.3)
    cava = _step((1 - ((x + 0.08) / 0.09) ** 2 - ((y + 0.15) / 0.4) ** 2) / 0.3)
    return 1 - (1 - ventricles) * (1 - arch) * (1 - outflow) * (1 - waist) * (1 - atrium) * (1 - 0.8 * cava)


def _bones(canvas: _Canvas, habitus: Habitus, outer: np.ndarray) -> np.ndarray:
    """Ribs (both halves), clavicles, shoulder blades and spine, in units of attenuation (H, W)."""
    x, y = canvas.x, canvas.y
    depth = np.abs(x)
    chest = (
        _step((outer + 0.035 - depth) / 0.02)
        * _step((y + 0.8) / 0.03)
        * (1 - 0.75 * _step((y - habitus.base + 0.02) / 0.06))
    )
    back = (y - habitus.tilt * (1.7 * depth * np.sqrt(depth) - 0.35 * np.exp(-((depth / 0.18) ** 2)))) / habitus.spacing
    front = (y + habitus.tilt * (1.25 * depth - 0.55 * depth * depth * depth) + 0.04) / (1.12 * habitus.spacing)
    ribs = 0.17 * _rib(back) * (0.75 + 0.55 * np.square(np.square(depth / habitus.width)))
    ribs += 0.1 * _rib(front) * _step((depth - 0.3) / 0.06) * _step((0.42 - y) / 0.1)
    shaft = y + 0.62 + 0.16 * (depth - 0.08) - 0.07 * np.sin(4.4 * (depth - 0.08))
    clavicles = _tube(shaft / 0.036) * _step((depth - 0.075) / 0.015) * _step((habitus.width - 0.02 - depth) / 0.03)
    blade = _step((depth - 0.62 - 0.25 * (y + 0.75)) / 0.03) * _step((0.05 - y) / 0.06) * _step((y + 0.72) / 0.05)
    joints = np.cos(2 * np.pi * y / 0.118)
    spine = np.exp(-np.square(np.square(depth / 0.085))) * (0.16 + 0.035 * joints)
    spine += 0.09 * np.exp(-((depth / 0.02) ** 2) - ((joints - 1) / 0.9) ** 2)
    return chest * ribs + 0.22 * clavicles + 0.09 * blade * _step((0.98 - depth) / 0.03) + spine


def _tube(distance: np.ndarray) -> np.ndarray:
    """Path through a hollow bone at ``distance`` radii from its axis: dense at the borders."""
    core = np.clip(1 - distance**2, 0, 1)
    return np.sqrt(core) * (1.15 - 0.55 * core)


def _rib(phase: np.ndarray) -> np.ndarray:
    return _tube((phase - np.rint(phase)) / 0.24)


def _vessels(canvas: _Canvas, habitus: Habitus) -> np.ndarray:
    """Vessels that fan out from the hila, thinner towards the borders (H, W)."""
    u, v = canvas.side * canvas.x - 0.14, canvas.y + 0.0
    radius = np.sqrt(u**2 + v**2) + 1e-3
    angle = np.arctan2(v, u)
    phases = [canvas.rng.uniform(0, 2 * np.pi) for _ in range(3)]
    wobble = 1.1 * canvas.noise(0.11)
    branches = np.zeros_like(radius)
    for k, count in enumerate((7, 12, 19)):
        ridge = np.abs(np.sin(0.5 * count * angle + canvas.side * phases[k] + wobble * (1 + radius)))
        branches += np.exp(-((ridge / (0.16 + 0.05 * k)) ** 2)) * np.exp(-radius / (0.16 + 0.09 * k))
    hilum = np.exp(-((u - 0.06) ** 2) / 0.006 - (v - 0.02) ** 2 / 0.018)
    return habitus.vessels * (0.2 * branches + 0.22 * hilum + 0.012 * canvas.noise(0.02))


def _opacities(
    canvas: _Canvas,
    finding: Finding,
    severity: float,
    outer: np.ndarray,
    exposure: Exposure,
    disease: np.random.Generator,
) -> np.ndarray:
    """What the disease adds inside the lungs (H, W): patches along both lower borders, or one dense lobe."""
    x, y, side = canvas.x, canvas.y, canvas.side
    depth = np.abs(x)
    if finding == "Normal":
        return np.zeros_like(x)
    texture = canvas.noise(0.045)
    if finding == "COVID":
        total = np.zeros_like(x)
        for half in (-1.0, 1.0):
            for _ in range(int(disease.integers(3, 6))):
                inset, height = disease.uniform(0.02, 0.17), disease.uniform(-0.15, 0.5) + exposure.inspiration
                wide, tall, weight = disease.uniform(0.07, 0.15), disease.uniform(0.08, 0.19), disease.uniform(0.4, 1)
                blob = np.exp(-(((outer - depth - inset) / wide) ** 2) - ((y - height) / tall) ** 2)
                total += weight * blob * (side == half)
        return severity * 0.46 * np.tanh(1.3 * total * np.clip(1 + 0.45 * texture, 0, None))
    half = -1.0 if disease.random() < 0.55 else 1.0
    across, height = disease.uniform(0.3, 0.5), (-0.36, 0.12, 0.34)[int(disease.integers(3))]
    wide, tall = disease.uniform(0.13, 0.2), disease.uniform(0.12, 0.19)
    slope = disease.uniform(-0.3, 0.3)
    v = y - height - exposure.inspiration - slope * (depth - across)
    distance = np.sqrt(((depth - across) / wide) ** 2 + (v / tall) ** 2) + 0.13 * texture
    fissure = _step((v + 0.55 * tall) / 0.018)
    bronchi = np.exp(-((canvas.noise(0.03) / 0.22) ** 2))
    lobe = _step((1.15 - distance) / 0.28) * (0.25 + 0.75 * fissure) * (1 - 0.2 * bronchi)
    return severity * 0.62 * lobe * (side == half)


def _show(thickness: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Detector and display: blur, quantum noise (variance falls with the quanta that come through), display curve."""
    size = thickness.shape[0]
    spectrum = np.fft.rfft2(thickness) * _gaussian_response(size, exposure.blur * size)
    image = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    quanta = exposure.dose * np.exp(2 * (1 - image))
    image += rng.standard_normal(image.shape, np.float32) / np.sqrt(quanta)
    grey = np.clip(image / 1.95, 0, 1) ** exposure.gamma
    grey = np.clip(grey * 0.93 + 0.03 + exposure.brightness * np.minimum(1, 4 * grey), 0, 1)
    _burn_in(grey, exposure.marker)
    return grey


def _burn_in(grey: np.ndarray, marker: Marker) -> None:
    """Write the side letter beside the shoulder it belongs to; the patient's right is at the image's left."""
    size = grey.shape[0]
    glyph = np.array([[cell == "1" for cell in line] for line in _GLYPHS[marker]])
    scale = max(1, size // 110)
    letter = np.kron(glyph, np.ones((scale, scale), bool))
    height, width = letter.shape
    top = size // 20
    left = size // 20 if marker == "R" else size - size // 20 - width
    region = grey[top : top + height, left : left + width]
    region[letter[: region.shape[0], : region.shape[1]]] = 0.97
