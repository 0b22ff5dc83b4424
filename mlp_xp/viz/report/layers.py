"""What goes on in the layers, drawn over the epochs."""

from mlp_xp.train import Recording
from mlp_xp.viz.style import look

from . import health
from .plot import Plot, Toggle, axes, by_epoch, line, shade, symbol, wide
from .words import is_number, number

FEW = 5
"""Of more layers than these not each is put in words."""
Lines = dict[str, list[float]]
"""A number for each record, by layer."""


def layer_plots(recording: Recording, which: int) -> tuple[list[Plot], list[Toggle]]:
    """Gradients, weights, dead units and outputs of the layers that learn, and the legend of all."""
    judged = health.judged(recording)
    kinds = health.kinds(recording)
    look_of = {
        name: Toggle(f"layer-{which}-{i}", f"{name} {kinds[name]}".strip(), shade(i), symbol=symbol(i))
        for i, name in enumerate(judged)
    }
    plots, used = [], set()
    for what, title, label, lines in quantities(recording, judged):
        traces = []
        for name, values in lines.items():
            toggle, colour = look_of[name], look(judged.index(name))[0]
            traces.append(line(recording.epochs, values, toggle.name, [toggle.key], colour, symbol=toggle.symbol))
            used.add(name)
        percent = {"tickformat": ".0%", "range": [-0.03, 1.03]} if what == "dead" else {}
        layout = axes("epoch", label, by_epoch(recording.epochs), percent)
        positive = [y for trace in traces for y in trace["y"] if y]
        logarithmic = wide(positive, 100) if what in ("gradient", "std") else None
        plots.append(Plot(f"layers-{which}-{what}", title, in_words(lines), traces, layout, logarithmic=logarithmic))
    return plots, [toggle for name, toggle in look_of.items() if name in used]


def quantities(recording: Recording, judged: list[str]) -> list[tuple[str, str, str, Lines]]:
    """(what, title, axis, numbers by layer) of what there is to draw. Dead units are where there are any."""
    gradients, dead, std = (recording.of_layers(what) for what in ("gradient", "dead", "std"))
    weighted = health.weighted(recording)
    others = [name for name in judged if name not in weighted] or judged
    found: list[tuple[str, str, str, Lines]] = [
        ("gradient", "Gradients", "dL/dy, root mean square", {name: gradients[name] for name in weighted}),
        ("growth", "Growth of weights", "mean |W| over its start", health.growth(recording)),
        ("dead", "Dead units", "share of dead units", {n: dead[n] for n in judged if any(y > 0 for y in dead[n])}),
        ("std", "Outputs", "standard deviation of outputs", {name: std[name] for name in others}),
    ]
    return [each for each in found if any(is_number(y) for values in each[3].values() for y in values)]


def in_words(lines: Lines) -> str:
    """Start and end of each layer's line or, of many, the lowest and the highest end."""
    drawn = {name: [y for y in values if is_number(y)] for name, values in lines.items()}
    drawn = {name: values for name, values in drawn.items() if values}
    if len(drawn) <= FEW:
        start = {name: f"{number(y[0])} to " if len(y) > 1 else "" for name, y in drawn.items()}
        courses = [f"{start[name]}{number(y[-1])} in {health.called(name)}" for name, y in drawn.items()]
        return f"{'; '.join(courses)}."
    low, high = (choose(drawn, key=lambda name: drawn[name][-1]) for choose in (min, max))
    return f"At the end from {number(drawn[low][-1])} in layer {low} to {number(drawn[high][-1])} in layer {high}."
