"""Writing of nodes to lines of limited width."""

from __future__ import annotations

from collections.abc import Sequence

from initdsl.text.wording import cell_width

from .pieces import Comments, Group, Node, Piece, flat_text, leading_width

__all__ = ["CONTINUATION", "INDENT", "WIDTH", "Lines"]


WIDTH = 100  # cells of a line


INDENT = 2  # cells a block or a bracket stands further in


# a statement that goes on outside of brackets stands further in than the body of its block
CONTINUATION = 4


class Lines:
    """Lines that are being written, `Lines(100)`: those that are done, and the current one.

    `indent` is that of the current line, to which a bracket opened in it goes back.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.done: list[str] = []
        self.current = ""
        self.indent = 0

    def begin(self, indent: int) -> None:
        """End the current line and begin one with this indent."""
        self.finish()
        self.indent = indent
        self.current = " " * indent

    def finish(self) -> None:
        """End the current line, unless it is empty."""
        if self.current.strip(" "):
            self.done.append(self.current)
        self.current = ""

    def write(self, text: str) -> None:
        """Write a text; at the beginning of a line without its leading spaces."""
        self.current += text if self.current.strip(" ") else text.lstrip(" ")

    def comments(self, comments: Comments, indent: int) -> None:
        """Write comments; only a line break may follow the last of them."""
        for number, text in enumerate(comments.texts):
            if number == 0 and comments.beside:
                self.write(f"  {text}")
            else:
                self.begin(indent)
                self.write(text)

    def nodes(self, nodes: Sequence[Node], after: int) -> None:
        """Write nodes one after the other, `after` cells to follow; comments behind the last are left to the caller."""
        home = self.indent
        for number, node in enumerate(nodes):
            rest = nodes[number + 1 :] if isinstance(node, Group) else ()
            if isinstance(node, Piece):
                self.write(node.flat)
            elif (
                node.forced
                or cell_width(self.current) + cell_width(node.flat) + leading_width(rest, after) > self.width
            ):
                self.group(node)
            else:
                self.write(node.flat)
            if node.comments and number < len(nodes) - 1:
                self.comments(node.comments, home + CONTINUATION)
                self.begin(home + CONTINUATION)

    def group(self, group: Group) -> None:
        """Write a bracket over several lines."""
        home, inner = self.indent, self.indent + INDENT
        self.write(group.opener.flat)
        self.comments(group.opener.comments, inner)
        if group.numbers:
            self.fill(group, inner)
        else:
            for number, item in enumerate(group.items):
                comma = number < len(group.items) - 1 or group.trailing_comma
                self.begin(inner)
                self.nodes(item.nodes, int(comma))
                self.write("," if comma else "")
                self.comments(item.comments, inner)
        self.begin(home)
        self.write(str(group.closer.token))

    def fill(self, group: Group, indent: int) -> None:
        """Write numbers side by side, as many as a line takes."""
        self.begin(indent)
        for item in group.items:
            text = flat_text(item.nodes).strip(" ") + ","
            if cell_width(self.current) + 1 + cell_width(text) > self.width:
                self.begin(indent)
            self.write(f" {text}")
