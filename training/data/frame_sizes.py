"""Detection of episodes whose camera used another mode than in the rest of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Shapes = Mapping[str, Sequence[tuple[int, int]]]
"""Topic of a camera -> (height, width) of its frames, pixels, in the order of receipt."""


def other_sizes(episodes: Sequence[Shapes]) -> list[list[str]]:
    """Report frames whose size is not that of most episodes, one line each.

    The aspect ratio may be the same: in another mode a sensor may still show a different part of
    the scene.

    Args:
        episodes: Shapes of each episode's frames.

    Returns:
        The lines about each episode.
    """
    counts: dict[str, Counter[tuple[int, int]]] = {}
    for shapes in episodes:
        for topic, seen in shapes.items():
            counts.setdefault(topic, Counter()).update(seen)
    usual = {topic: count.most_common(1)[0][0] for topic, count in counts.items() if count}
    return [
        [
            f"{topic}: frames of {width}x{height}, those of other episodes are "
            f"{usual[topic][1]}x{usual[topic][0]}; a policy learns one mode of a camera"
            for topic, seen in shapes.items()
            for height, width in seen
            if (height, width) != usual[topic]
        ]
        for shapes in episodes
    ]
