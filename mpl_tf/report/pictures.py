"""The pictures of a report, as data: URLs: thumbnails of images, and figures."""

import base64
import io

import numpy as np

from mpl_tf.common import pictures
from mpl_tf.run import curves

THUMBNAIL, SMALLEST = 96, 64        # the sides of a thumbnail, pixels
_BLUE, _ORANGE, _GRAY = "#0072b2", "#d55e00", "#777777"     # colour-blind people can tell them apart


def url(data, kind):
    """A data: URL of bytes."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(pixels):
    """(data: URL, width, height) of an image, uint8 [H, W, C]."""
    from PIL import Image
    pixels = np.asarray(pixels)
    pixels = pixels[..., 0] if pixels.shape[-1] in (1, 2) else pixels[..., :3]
    image, file = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    if max(image.size) > THUMBNAIL:
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    elif max(image.size) <= SMALLEST // 2:      # so that each pixel stays a square
        scale = -(-SMALLEST // max(image.size))
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    photograph = max(image.size) == THUMBNAIL and image.mode == "RGB"
    if photograph:
        image.save(file, "JPEG", quality=85)
    else:
        image.save(file, "PNG", optimize=True)
    return url(file.getvalue(), "image/jpeg" if photograph else "image/png"), image.width, image.height


def figure(draw, width=4.6, height=3.2):
    """(data: URL, width, height in CSS pixels) of what `draw` draws, a function of a Figure; or None."""
    with pictures.or_warn("a figure of the report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        made, file = Figure((width, height), dpi=150, layout="constrained"), io.BytesIO()
        draw(made)
        FigureCanvasAgg(made).print_png(file)
        return url(file.getvalue(), "image/png"), round(width * 100), round(height * 100)
    return None


def draw_reliability(bins_of_roles):
    """Draws accuracy over confidence; {role: list of statistics.Bin}."""
    def draw(figure_):
        axes = figure_.subplots()
        axes.plot([0, 100], [0, 100], color=_GRAY, linestyle=":", label="as sure as right")
        for (role, bins), color in zip(bins_of_roles.items(), (_BLUE, _ORANGE)):
            most = max(each.count for each in bins)
            x, y = ([100 * getattr(each, name) for each in bins] for name in ("confidence", "accuracy"))
            axes.plot(x, y, color=color, label=role)
            axes.scatter(x, y, [8 + 60 * each.count / most for each in bins], color=color)
        axes.set(xlabel="how sure, mean probability [%]", ylabel="how often right [%]", xlim=(0, 104),
                 ylim=(-4, 104))        # so that no dot is cut
        axes.grid(alpha=0.3)
        _legend(figure_, axes)
    return draw


def _legend(figure_, axes, columns=3):
    """A legend below the axes, where it hides nothing."""
    figure_.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns,
                   fontsize=8, frameon=False)


def draw_over_steps(lines, evaluations):
    """Draws `lines`, a function of axes and evaluations such as curves.draw_losses, and a legend."""
    def draw(figure_):
        axes = figure_.subplots()
        lines(axes, evaluations)
        _legend(figure_, axes, 1)
    return draw


def draw_signal(signal):
    """Draws ratio and cosine of the meta gradient over steps, see contents.signal."""
    titles = {"ratio": "length of the meta gradient, in lengths of the objective's gradient",
              "cosine": "cosine of the meta gradient and the objective's gradient"}

    def draw(figure_):
        panels = np.ravel(figure_.subplots(len(signal), 1, sharex=True))
        for axes, (name, values) in zip(panels, sorted(signal.items(), reverse=True)):
            axes.plot(*zip(*values), color=_BLUE, marker=".")
            axes.axhline(0, color=_GRAY, linewidth=0.8)
            axes.set_title(titles[name], fontsize=8, loc="left")
            curves.over_steps(axes)
        for axes in panels[:-1]:
            axes.set_xlabel(None)
    return draw
