"""The classifier of a source and the classes of the data, matched by name."""
from collections.abc import Sequence

__all__ = ['order_of_classes', 'said_of_classes']


def order_of_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """The output of the source for each of our classes, if it has as many outputs as there are classes.

    Args:
        theirs: class names of the source's outputs; empty if unknown.
        ours: class names of the data, in order; empty if unknown.

    Returns:
        One number per class; all in order if the names of one side are unknown; None if they are other names.

    >>> order_of_classes(['cat', 'dog', 'eel'], ['dog', 'eel', 'cat']), order_of_classes(['cat', 'dog'], ['dog', 'cow'])
    ([1, 2, 0], None)
    """
    if not theirs or not ours:
        return list(range(max(len(theirs), len(ours))))
    if sorted(theirs) != sorted(ours) or len(set(theirs)) < len(theirs):
        return None
    return [list(theirs).index(name) for name in ours]


def said_of_classes(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """What a user should know where the source's classifier is kept; '' if all is as expected."""
    if not theirs or not ours:
        return 'its class names are not known: its outputs are taken to be your classes in order'
    if list(theirs) != list(ours):
        return f'its outputs are put into the order of your classes: {", ".join(ours)}'
    return ''
