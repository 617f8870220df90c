"""What an editor asks, answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams

from initdsl.formatter.layout import format_range
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.text.diagnostic import Diagnostic, Edit, InitDSLError
from initdsl.text.source import Span, read_source

from .colours import coloured
from .completion import Item, completions
from .documents import Document, diagnostic_of, markdown, range_of, uri_of
from .hover import counts, definition, hover
from .outline import Refused, Symbol, renamed, symbols
from .session import Plain
from .text import Text

__all__ = ["REQUESTS"]


# the kind of a token in the grammar's table: its type in LSP
TOKEN_TYPES = {
    "comment": "comment", "string": "string", "regex": "regexp", "number": "number", "statement": "keyword",
    "word": "keyword", "constant": "keyword", "pseudo": "keyword", "reserved": "keyword", "class": "class",
    "step": "property", "function": "function", "parameter": "parameter", "definition": "variable", "name": "variable",
    "operator": "operator",
}  # fmt: skip


LEGEND = sorted(set(TOKEN_TYPES.values()))


MODIFIERS = ["declaration", "readonly"]


COMPLETION_KINDS = {
    "keyword": lsp.CompletionItemKind.Keyword, "class": lsp.CompletionItemKind.Class,
    "member": lsp.CompletionItemKind.Property, "module": lsp.CompletionItemKind.Module,
    "function": lsp.CompletionItemKind.Function, "parameter": lsp.CompletionItemKind.Field,
    "enum": lsp.CompletionItemKind.EnumMember, "variable": lsp.CompletionItemKind.Variable,
    "value": lsp.CompletionItemKind.Constant, "file": lsp.CompletionItemKind.File,
}  # fmt: skip


SYMBOL_KINDS = {
    "let": lsp.SymbolKind.Constant, "use": lsp.SymbolKind.File, "block": lsp.SymbolKind.Namespace,
    "statement": lsp.SymbolKind.Property,
}  # fmt: skip


# ---- what editors ask


def _complete(document: Document, params: lsp.CompletionParams) -> lsp.CompletionList | None:
    span, items = completions(document.outline, document.offset(params.position), document.known, document.path)
    range_ = document.range(span)
    return lsp.CompletionList(
        is_incomplete=False, items=[_completion(item, number, range_) for number, item in enumerate(items)]
    )


def _completion(item: Item, number: int, range_: lsp.Range) -> lsp.CompletionItem:
    """Return a proposal, the one at `number`, that replaces what stands in a range."""
    return lsp.CompletionItem(
        item.label,
        kind=COMPLETION_KINDS[item.kind],
        detail=item.detail or None,
        sort_text=f"{number:04}",
        documentation=markdown(item.documentation) if item.documentation else None,
        text_edit=lsp.TextEdit(range_, item.label),
    )


def _hover(document: Document, params: lsp.HoverParams) -> lsp.Hover | None:
    hovered = hover(document.outline, document.offset(params.position), document.known)
    return None if hovered is None else lsp.Hover(markdown(hovered[1]), document.range(hovered[0]))


def _definition(document: Document, params: lsp.DefinitionParams) -> lsp.Location | None:
    origin = definition(document.outline, document.offset(params.position), document.path, document.known)
    if origin is None:
        return None
    path, span = origin
    if path is None:
        return lsp.Location(document.uri, document.range(span))
    source = read_source(path, DEFAULT_LIMITS.file_bytes)
    if isinstance(source, tuple):
        return None
    return lsp.Location(uri_of(path), range_of(Text(source.text, document.text.unit), span))


def _prepare_rename(document: Document, params: lsp.PrepareRenameParams) -> lsp.Range | None:
    name = document.outline.name_at(document.offset(params.position))
    if name is None or document.outline.meant(name) is None:
        return None
    return document.range(name.span)


def _rename(document: Document, params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
    try:
        spans = renamed(document.outline, document.offset(params.position), params.new_name)
    except Refused as refused:
        raise JsonRpcInvalidParams(str(refused)) from None
    return lsp.WorkspaceEdit({document.uri: [lsp.TextEdit(document.range(span), params.new_name) for span in spans]})


def _format(document: Document, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
    return _laid_out(document, 1, len(document.text.starts))


def _format_range(document: Document, params: lsp.DocumentRangeFormattingParams) -> list[lsp.TextEdit] | None:
    end = params.range.end
    # a range that ends before the first character of a line does not hold that line
    last = end.line if end.character == 0 and end.line > params.range.start.line else end.line + 1
    return _laid_out(document, params.range.start.line + 1, last)


def _laid_out(document: Document, first: int, last: int) -> list[lsp.TextEdit] | None:
    try:
        return _edits(document, format_range(document.text.text, first, last, document.laid_out))
    except InitDSLError:
        return None


def _edits(document: Document, edits: Sequence[Edit]) -> list[lsp.TextEdit]:
    return [lsp.TextEdit(document.range(edit.span), edit.text) for edit in edits]


def _fixes(document: Document, params: lsp.CodeActionParams) -> list[lsp.CodeAction] | None:
    if document.checked != document.text.text:
        return None
    asked = document.span(params.range)
    wanted = [str(getattr(kind, "value", kind)) for kind in params.context.only or ()]
    if wanted and not any(lsp.CodeActionKind.QuickFix.value.startswith(kind) for kind in wanted):
        return []
    return [
        action
        for finding in document.found
        if finding.span is not None and finding.span.start <= asked.end and asked.start <= finding.span.end
        if (action := _fix(document, finding)) is not None
    ]


def _fix(document: Document, finding: Diagnostic) -> lsp.CodeAction | None:
    """Return the fix of a finding about this document, if it has one."""
    fix, source = finding.fix, finding.source
    if fix is None or source is None or source.text != document.checked:
        return None
    return lsp.CodeAction(
        fix.title,
        kind=lsp.CodeActionKind.QuickFix,
        diagnostics=[diagnostic_of(document, finding)],
        is_preferred=fix.safe,
        edit=lsp.WorkspaceEdit({document.uri: _edits(document, fix.edits)}),
    )


def _symbols(document: Document, params: lsp.DocumentSymbolParams) -> Plain | None:
    return Plain([_symbol(document.text, symbol) for symbol in symbols(document.pieces)])


def _symbol(text: Text, symbol: Symbol) -> dict[str, Any]:
    """Return a symbol and what is inside as the JSON of LSP."""
    range_ = _range(text, symbol.span)
    named = range_ if symbol.name_span == symbol.span else _range(text, symbol.name_span)
    inside = {"children": [_symbol(text, child) for child in symbol.children]} if symbol.children else {}
    kind = SYMBOL_KINDS[symbol.kind].value
    return {"name": symbol.name, "kind": kind, "range": range_, "selectionRange": named, **inside}


def _range(text: Text, span: Span) -> dict[str, dict[str, int]]:
    start, end = text.place(span.start), text.place(span.end)
    return {
        "start": {"line": start.line, "character": start.column},
        "end": {"line": end.line, "character": end.column},
    }


def _tokens(document: Document, params: lsp.SemanticTokensParams) -> Plain | None:
    return _coloured(document, Span(0, len(document.text.text)))


def _range_tokens(document: Document, params: lsp.SemanticTokensRangeParams) -> Plain | None:
    return _coloured(document, document.span(params.range))


def _coloured(document: Document, asked: Span) -> Plain:
    text = document.text
    pieces = document.pieces
    colours = [(start, end, "comment") for start, end in pieces.comments if end >= asked.start and start <= asked.end]
    for number in pieces.between(*asked):
        at = pieces.pieces[number].start
        colours += [(at + start, at + end, kind) for start, end, kind in coloured(pieces.pieces[number].text)]
    colours.sort()
    data: list[int] = []
    line = column = 0
    plain = text.plain
    starts, number = text.starts, 0
    for start, end, kind in colours:
        if kind not in TOKEN_TYPES or end <= start:
            continue
        while number + 1 < len(starts) and starts[number + 1] <= start:
            number += 1
        if number + 1 < len(starts):
            end = min(end, starts[number + 1])  # a token lies on one line
        if plain:
            here, width = start - starts[number], end - start
        else:
            here = text.place(start).column
            width = Text(text.text[start:end], text.unit).place(end - start).column
        data += [number - line, here - column if number == line else here, width, LEGEND.index(TOKEN_TYPES[kind])]
        data.append(3 if kind == "definition" else 0)
        line, column = number, here
    return Plain({"data": data})


def _hints(document: Document, params: lsp.InlayHintParams) -> list[lsp.InlayHint] | None:
    asked = document.span(params.range)
    return [
        lsp.InlayHint(lsp.Position(*document.text.place(offset)), label, padding_left=True)
        for offset, label in counts(document.outline, *asked, document.known)
        if asked.start <= offset <= asked.end
    ]


REQUESTS: list[tuple[str, Callable[[Document, Any], Any], Any]] = [
    (lsp.TEXT_DOCUMENT_COMPLETION, _complete, lsp.CompletionOptions(trigger_characters=[".", "[", "(", "=", '"', "~"])),
    (lsp.TEXT_DOCUMENT_HOVER, _hover, None),
    (lsp.TEXT_DOCUMENT_DEFINITION, _definition, None),
    (lsp.TEXT_DOCUMENT_PREPARE_RENAME, _prepare_rename, None),
    (lsp.TEXT_DOCUMENT_RENAME, _rename, lsp.RenameOptions(prepare_provider=True)),
    (lsp.TEXT_DOCUMENT_FORMATTING, _format, None),
    (lsp.TEXT_DOCUMENT_RANGE_FORMATTING, _format_range, None),
    (lsp.TEXT_DOCUMENT_CODE_ACTION, _fixes, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])),
    (lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL, _symbols, None),
    (lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, _tokens, lsp.SemanticTokensLegend(LEGEND, MODIFIERS)),
    (lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_RANGE, _range_tokens, lsp.SemanticTokensLegend(LEGEND, MODIFIERS)),
    (lsp.TEXT_DOCUMENT_INLAY_HINT, _hints, None),
]
