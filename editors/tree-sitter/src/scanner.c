// What the grammar's regular expressions can't see: where a statement ends, which words are reserved, and which
// brackets, dots and stars touch what stands in front of them. docs/language.md, 1.1, 1.3 and 1.4.

#include "tree_sitter/alloc.h"
#include "tree_sitter/parser.h"

#include <string.h>

// `externals` of grammar.js
enum Token {
  GAP, NEWLINE, LBRACE, LPAR, LSQB, RPAR, RSQB, LPAR_GLUED, LSQB_GLUED, DOT_FREE, DOT, STAR, STAR_GLUED,
  LEN, TIED, MEAN, STD, MIN, MAX, NORM, VALUES, SHAPE, COVERED, FINITE,
  TIE, COPY, KEEP, DEFAULT, LET, USE, IN, AS, NOT, AND, OR, NET, IT, TRUE, FALSE, NONE, INF, NAN_, PI, EXPECT,
  GOES_ON, APART, ANY_WORD, WORD_GLUED, MISTAKE,
};

// those from LEN to EXPECT
static const char *const WORDS[] = {
  "len", "tied", "mean", "std", "min", "max", "norm", "values", "shape", "covered", "finite",
  "tie", "copy", "keep", "default", "let", "use", "in", "as", "not", "and", "or", "net", "it", "true", "false", "none",
  "inf", "nan", "pi", "expect",
};
enum { WORD_COUNT = sizeof WORDS / sizeof *WORDS, LONGEST = 7 };

typedef struct {
  uint16_t depth; // of the `(` and `[` that are open
  uint16_t brace; // whether a `{` stands behind the newlines and comments that are being read
} Scanner;

void *tree_sitter_initdsl_external_scanner_create(void) { return ts_calloc(1, sizeof(Scanner)); }

void tree_sitter_initdsl_external_scanner_destroy(void *payload) { ts_free(payload); }

unsigned tree_sitter_initdsl_external_scanner_serialize(void *payload, char *buffer) {
  memcpy(buffer, payload, sizeof(Scanner));
  return sizeof(Scanner);
}

void tree_sitter_initdsl_external_scanner_deserialize(void *payload, const char *buffer, unsigned length) {
  memset(payload, 0, sizeof(Scanner));
  if (length == sizeof(Scanner)) memcpy(payload, buffer, length);
}

static bool is_blank(int32_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// a letter beyond ASCII may be any character: what it belongs to is no reserved word
static bool is_word(int32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
}

static bool found(TSLexer *lexer, enum Token token) {
  lexer->mark_end(lexer);
  lexer->result_symbol = token;
  return true;
}

static bool take(TSLexer *lexer, enum Token token) {
  lexer->advance(lexer, false);
  return found(lexer, token);
}

// whether nothing but blanks, newlines and comments stands before a `{`
static bool brace_follows(TSLexer *lexer) {
  for (;;) {
    while (is_blank(lexer->lookahead)) lexer->advance(lexer, false);
    if (lexer->lookahead != '#') return lexer->lookahead == '{';
    while (lexer->lookahead != '\n' && !lexer->eof(lexer)) lexer->advance(lexer, false);
  }
}

// whether a `*` that was read belongs to a name: directly before `=` or `*=` it belongs to the operator
static bool is_of_a_name(TSLexer *lexer) {
  if (lexer->lookahead == '*') lexer->advance(lexer, false);
  return lexer->lookahead != '=';
}

static bool scan_word(TSLexer *lexer, const bool *valid, bool touches) {
  char text[LONGEST + 1] = {0};
  for (unsigned length = 0; is_word(lexer->lookahead); length++) {
    if (length == LONGEST || lexer->lookahead < 'a' || lexer->lookahead > 'z') return false;
    text[length] = (char)lexer->lookahead;
    lexer->advance(lexer, false);
  }
  unsigned number = 0;
  while (number < WORD_COUNT && strcmp(text, WORDS[number]) != 0) number++;
  if (number == WORD_COUNT) return false;
  enum Token token = (enum Token)(LEN + number);
  found(lexer, token);
  bool recovering = valid[MISTAKE];
  // any word may stand behind a dot or a `*`
  if (!recovering && (valid[ANY_WORD] || (touches && valid[WORD_GLUED]))) return false;
  if (token == LEN) return valid[LEN] && lexer->lookahead == '(';
  if (token == TIED) return valid[TIED] && (lexer->lookahead == ' ' || lexer->lookahead == '\t');
  if (token < TIE) return valid[token] && !recovering;
  // a class may begin with a reserved word: `in*`
  bool no_class = !recovering && (valid[IT] || (token == IN && valid[IN] && valid[GOES_ON]));
  if (lexer->lookahead != '*' || no_class) return true;
  lexer->advance(lexer, false);
  return !is_of_a_name(lexer);
}

bool tree_sitter_initdsl_external_scanner_scan(void *payload, TSLexer *lexer, const bool *valid) {
  Scanner *scanner = payload;
  bool touches = true;
  for (; is_blank(lexer->lookahead); touches = false) {
    if (lexer->lookahead == '\n' && valid[MISTAKE]) {
      memset(scanner, 0, sizeof *scanner); // behind a mistake reading goes on in the next line, whatever is open
      return take(lexer, NEWLINE);
    }
    if (lexer->lookahead == '\n' && !scanner->depth && !scanner->brace && !valid[GOES_ON]) {
      take(lexer, NEWLINE);
      scanner->brace = valid[LBRACE] && brace_follows(lexer);
      if (scanner->brace) lexer->result_symbol = GAP;
      return true;
    }
    lexer->advance(lexer, true);
  }
  int32_t c = lexer->lookahead;
  switch (c) {
    case '{':
      scanner->brace = 0;
      return valid[LBRACE] && take(lexer, LBRACE);
    case '(':
    case '[': {
      enum Token glued = c == '(' ? LPAR_GLUED : LSQB_GLUED, plain = c == '(' ? LPAR : LSQB;
      enum Token token = touches && valid[glued] ? glued : plain;
      scanner->depth++;
      return valid[token] && take(lexer, token);
    }
    case ')':
    case ']': {
      enum Token token = c == ')' ? RPAR : RSQB;
      if (scanner->depth) scanner->depth--;
      return valid[token] && take(lexer, token);
    }
    case '.':
      if (touches && valid[DOT]) return take(lexer, DOT);
      return valid[DOT_FREE] && !(touches && valid[APART]) && take(lexer, DOT_FREE);
    case '*': {
      enum Token token = touches && valid[STAR_GLUED] ? STAR_GLUED : STAR;
      return valid[token] && take(lexer, token) && is_of_a_name(lexer);
    }
    default:
      return c >= 'a' && c <= 'z' && scan_word(lexer, valid, touches);
  }
}
