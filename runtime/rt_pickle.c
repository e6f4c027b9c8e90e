/* The stack machine: opcodes of protocols 2 to 5 as torch.save writes them. */
#include "rt_pickle_machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- values --- */

void *rt_pickle_alloc(rt_pickle_machine *m, size_t bytes) {
    rt_pickle *p = m->pickle;
    bytes = (bytes + 15) / 16 * 16;
    if (bytes > p->free_bytes) {
        size_t head = 16, room = bytes > (1 << 16) ? bytes : 1 << 16;
        rt_pickle_chunk *chunk = calloc(1, head + room);
        if (!chunk) {
            rt_fail(m->error, "out of memory");
            return NULL;
        }
        chunk->next = p->chunks;
        p->chunks = chunk;
        p->free = (char *)chunk + head;
        p->free_bytes = room;
    }
    void *memory = p->free;
    p->free += bytes;
    p->free_bytes -= bytes;
    return memory;
}

rt_pickle_value *rt_pickle_new(rt_pickle_machine *m, rt_pickle_kind kind) {
    rt_pickle_value *value = rt_pickle_alloc(m, sizeof *value);
    if (value) value->kind = kind;
    return value;
}

bool rt_pickle_append(rt_pickle_machine *m, rt_pickle_items *items, rt_pickle_value *value) {
    if (items->count == items->room) {
        size_t room = items->room ? 2 * items->room : 4;
        rt_pickle_value **more = rt_pickle_alloc(m, room * sizeof *more);
        if (!more) return false;
        if (items->count > 0) memcpy(more, items->item, items->count * sizeof *more);
        items->item = more;
        items->room = room;
    }
    items->item[items->count++] = value;
    return true;
}

bool rt_pickle_push(rt_pickle_machine *m, rt_pickle_value *value) {
    return value && rt_pickle_append(m, &m->stack, value);
}

static rt_pickle_value *top(rt_pickle_machine *m) {
    rt_pickle_value *value = m->stack.count ? m->stack.item[m->stack.count - 1] : NULL;
    if (value && value->kind != RT_PICKLE_MARK) return value;
    rt_fail(m->error, "an opcode finds no value on the stack");
    return NULL;
}

rt_pickle_value *rt_pickle_pop(rt_pickle_machine *m) {
    rt_pickle_value *value = top(m);
    if (value) m->stack.count--;
    return value;
}

/* The values above the topmost mark leave the stack, with it; they stay readable until the next
 * push. */
static bool pop_to_mark(rt_pickle_machine *m, rt_pickle_items *values) {
    for (size_t i = m->stack.count; i-- > 0;)
        if (m->stack.item[i]->kind == RT_PICKLE_MARK) {
            *values =
                (rt_pickle_items){.item = m->stack.item + i + 1, .count = m->stack.count - i - 1};
            m->stack.count = i;
            return true;
        }
    return rt_fail(m->error, "an opcode finds no mark on the stack");
}

/* --- arguments of opcodes --- */

/* The next `count` bytes; NULL, with the error set, if there are fewer. */
static const uint8_t *take(rt_pickle_machine *m, uint64_t count) {
    if (count > m->size - m->at) {
        rt_fail(m->error, "the pickle ends inside of an opcode");
        return NULL;
    }
    const uint8_t *bytes = m->bytes + m->at;
    m->at += count;
    return bytes;
}

/* A little-endian number of 1 to 8 bytes. */
static bool take_number(rt_pickle_machine *m, int bytes, uint64_t *number) {
    const uint8_t *from = take(m, (uint64_t)bytes);
    *number = 0;
    for (int i = 0; from && i < bytes; i++)
        *number |= (uint64_t)from[i] << 8 * i;
    return from != NULL;
}

/* A line without its newline, in the arena. */
static const char *take_line(rt_pickle_machine *m) {
    const uint8_t *from = m->bytes + m->at, *end = memchr(from, '\n', m->size - m->at);
    if (!end) {
        rt_fail(m->error, "the pickle ends inside of an opcode");
        return NULL;
    }
    size_t length = (size_t)(end - from);
    char *line = rt_pickle_alloc(m, length + 1);
    if (line) memcpy(line, from, length);
    m->at += length + 1;
    return line;
}

static bool push_string(rt_pickle_machine *m, int length_bytes) {
    uint64_t length;
    if (!take_number(m, length_bytes, &length)) return false;
    const uint8_t *from = take(m, length);
    if (!from) return false;
    char *text = rt_pickle_alloc(m, length + 1);
    rt_pickle_value *value = text ? rt_pickle_new(m, RT_PICKLE_STRING) : NULL;
    if (!value) return false;
    memcpy(text, from, length);
    value->string.text = text;
    value->string.length = length;
    return rt_pickle_push(m, value);
}

static bool push_whole(rt_pickle_machine *m, rt_pickle_kind kind, int64_t number) {
    rt_pickle_value *value = rt_pickle_new(m, kind);
    if (value) value->whole = number;
    return rt_pickle_push(m, value);
}

/* A whole number of any length, two's complement; those beyond 64 bits are refused. */
static bool push_long(rt_pickle_machine *m, int length_bytes) {
    uint64_t length, number = 0;
    if (!take_number(m, length_bytes, &length)) return false;
    const uint8_t *from = take(m, length);
    if (!from) return false;
    if (length > 8) return rt_fail(m->error, "a whole number has more than 64 bits");
    for (uint64_t i = 0; i < length; i++)
        number |= (uint64_t)from[i] << 8 * i;
    if (length > 0 && length < 8 && from[length - 1] & 0x80) number |= UINT64_MAX << 8 * length;
    return push_whole(m, RT_PICKLE_INT, (int64_t)number);
}

static bool push_float(rt_pickle_machine *m) {
    const uint8_t *from = take(m, 8);
    rt_pickle_value *value = from ? rt_pickle_new(m, RT_PICKLE_FLOAT) : NULL;
    if (!value) return false;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) /* the one big-endian number of pickles */
        bits = bits << 8 | from[i];
    memcpy(&value->real, &bits, sizeof bits);
    return rt_pickle_push(m, value);
}

/* --- memo --- */

/* Pickles number their memos from 0 and spend at least two bytes on each. */
static bool remember(rt_pickle_machine *m, uint64_t index) {
    rt_pickle_value *value = top(m);
    if (!value) return false;
    if (index > m->size)
        return rt_fail(m->error, "memo %" PRIu64 " in a pickle of %zu bytes", index, m->size);
    while (m->memo.count <= index)
        if (!rt_pickle_append(m, &m->memo, NULL)) return false;
    m->memo.item[index] = value;
    return true;
}

static bool recall(rt_pickle_machine *m, uint64_t index) {
    if (index >= m->memo.count || !m->memo.item[index])
        return rt_fail(m->error, "memo %" PRIu64 " is read before it is written", index);
    return rt_pickle_push(m, m->memo.item[index]);
}

/* --- containers --- */

static bool push_items(rt_pickle_machine *m, rt_pickle_kind kind, const rt_pickle_items *items) {
    rt_pickle_value *value = rt_pickle_new(m, kind);
    for (size_t i = 0; value && i < items->count; i++)
        if (!rt_pickle_append(m, &value->items, items->item[i])) return false;
    return rt_pickle_push(m, value);
}

static bool push_marked(rt_pickle_machine *m, rt_pickle_kind kind) {
    rt_pickle_items items;
    if (!pop_to_mark(m, &items)) return false;
    if (kind == RT_PICKLE_DICT && items.count % 2)
        return rt_fail(m->error, "a dict has a key without a value");
    return push_items(m, kind, &items);
}

/* The topmost one to three values as a tuple. */
static bool push_tuple(rt_pickle_machine *m, size_t count) {
    rt_pickle_value *values[3];
    for (size_t i = count; i-- > 0;)
        if (!(values[i] = rt_pickle_pop(m))) return false;
    return push_items(m, RT_PICKLE_TUPLE, &(rt_pickle_items){.item = values, .count = count});
}

/* Puts values into the container below them: a list, or a dict, which takes pairs. */
static bool put_into(rt_pickle_machine *m, rt_pickle_kind kind, const rt_pickle_items *items) {
    rt_pickle_value *container = top(m);
    if (!container) return false;
    if (kind == RT_PICKLE_DICT && items->count % 2)
        return rt_fail(m->error, "a dict has a key without a value");
    if (container->kind != kind)
        return rt_fail(m->error, "items are put into %s; expected %s",
                       rt_pickle_kind_name(container->kind), rt_pickle_kind_name(kind));
    for (size_t i = 0; i < items->count; i++)
        if (!rt_pickle_append(m, &container->items, items->item[i])) return false;
    return true;
}

static bool put_marked(rt_pickle_machine *m, rt_pickle_kind kind) {
    rt_pickle_items items;
    return pop_to_mark(m, &items) && put_into(m, kind, &items);
}

static bool put_few(rt_pickle_machine *m, rt_pickle_kind kind, size_t count) {
    rt_pickle_value *values[2];
    for (size_t i = count; i-- > 0;)
        if (!(values[i] = rt_pickle_pop(m))) return false;
    return put_into(m, kind, &(rt_pickle_items){.item = values, .count = count});
}

/* Attributes of an object: a state dict's own (_metadata) and a Namespace's. Nothing reads them. */
static bool build(rt_pickle_machine *m) {
    const rt_pickle_value *state = rt_pickle_pop(m), *object = state ? top(m) : NULL;
    if (!object) return false;
    if ((object->kind != RT_PICKLE_DICT && object->kind != RT_PICKLE_OBJECT) ||
        state->kind != RT_PICKLE_DICT)
        return rt_fail(m->error, "%s gets %s as attributes; expected a dict for a dict",
                       rt_pickle_kind_name(object->kind), rt_pickle_kind_name(state->kind));
    return true;
}

static bool named(rt_pickle_machine *m) {
    const char *module = take_line(m), *name = module ? take_line(m) : NULL;
    return name && rt_pickle_global(m, module, name);
}

static bool named_on_stack(rt_pickle_machine *m) {
    const rt_pickle_value *name = rt_pickle_pop(m), *module = name ? rt_pickle_pop(m) : NULL;
    if (!module) return false;
    if (name->kind != RT_PICKLE_STRING || module->kind != RT_PICKLE_STRING)
        return rt_fail(m->error, "a name is %s in %s; expected strings",
                       rt_pickle_kind_name(name->kind), rt_pickle_kind_name(module->kind));
    return rt_pickle_global(m, module->string.text, name->string.text);
}

/* --- opcodes --- */

static bool with_number(rt_pickle_machine *m, int bytes,
                        bool (*use)(rt_pickle_machine *m, uint64_t number)) {
    uint64_t number;
    return take_number(m, bytes, &number) && use(m, number);
}

static bool push_int(rt_pickle_machine *m, int bytes) {
    uint64_t number;
    if (!take_number(m, bytes, &number)) return false;
    return push_whole(m, RT_PICKLE_INT, bytes == 4 ? (int32_t)number : (int64_t)number);
}

static bool check_protocol(rt_pickle_machine *m, uint64_t protocol) {
    return (protocol >= 2 && protocol <= 5) ||
           rt_fail(m->error, "protocol %" PRIu64 "; expected 2 to 5", protocol);
}

static bool run_opcode(rt_pickle_machine *m, uint8_t opcode) {
    static const rt_pickle_items nothing = {0};
    switch (opcode) {
    case 0x80: return with_number(m, 1, check_protocol); /* PROTO */
    case 0x95: return take(m, 8) != NULL;                /* FRAME */
    case '(': return rt_pickle_push(m, rt_pickle_new(m, RT_PICKLE_MARK));
    case '0': return rt_pickle_pop(m) != NULL;              /* POP */
    case '1': return pop_to_mark(m, &(rt_pickle_items){0}); /* POP_MARK */
    case 'N': return push_whole(m, RT_PICKLE_NONE, 0);
    case 0x88: return push_whole(m, RT_PICKLE_BOOL, 1); /* NEWTRUE */
    case 0x89: return push_whole(m, RT_PICKLE_BOOL, 0); /* NEWFALSE */
    case 'J': return push_int(m, 4);                    /* BININT, signed */
    case 'K': return push_int(m, 1);                    /* BININT1 */
    case 'M': return push_int(m, 2);                    /* BININT2 */
    case 0x8a: return push_long(m, 1);                  /* LONG1 */
    case 'G': return push_float(m);                     /* BINFLOAT */
    case 'X': return push_string(m, 4);                 /* BINUNICODE */
    case 0x8c: return push_string(m, 1);                /* SHORT_BINUNICODE */
    case 0x8d: return push_string(m, 8);                /* BINUNICODE8 */
    case 'T': return push_string(m, 4);                 /* BINSTRING, of Python 2 */
    case 'U': return push_string(m, 1);                 /* SHORT_BINSTRING, of Python 2 */
    case ']': return push_items(m, RT_PICKLE_LIST, &nothing);
    case ')': return push_items(m, RT_PICKLE_TUPLE, &nothing);
    case '}': return push_items(m, RT_PICKLE_DICT, &nothing);
    case 'l': return push_marked(m, RT_PICKLE_LIST);
    case 't': return push_marked(m, RT_PICKLE_TUPLE);
    case 'd': return push_marked(m, RT_PICKLE_DICT);
    case 0x85: return push_tuple(m, 1);             /* TUPLE1 */
    case 0x86: return push_tuple(m, 2);             /* TUPLE2 */
    case 0x87: return push_tuple(m, 3);             /* TUPLE3 */
    case 'a': return put_few(m, RT_PICKLE_LIST, 1); /* APPEND */
    case 'e': return put_marked(m, RT_PICKLE_LIST); /* APPENDS */
    case 's': return put_few(m, RT_PICKLE_DICT, 2); /* SETITEM */
    case 'u': return put_marked(m, RT_PICKLE_DICT); /* SETITEMS */
    case 'q': return with_number(m, 1, remember);   /* BINPUT */
    case 'r': return with_number(m, 4, remember);   /* LONG_BINPUT */
    case 0x94: return remember(m, m->memo.count);   /* MEMOIZE */
    case 'h': return with_number(m, 1, recall);     /* BINGET */
    case 'j': return with_number(m, 4, recall);     /* LONG_BINGET */
    case 'c': return named(m);                      /* GLOBAL */
    case 0x93: return named_on_stack(m);            /* STACK_GLOBAL */
    case 'R': return rt_pickle_reduce(m);
    case 0x81: return rt_pickle_new_object(m); /* NEWOBJ */
    case 'b': return build(m);
    case 'Q': return rt_pickle_persistent(m); /* BINPERSID */
    }
    return rt_fail(m->error, "opcode %02x is not known to this reader", opcode);
}

/* Until STOP, which leaves one value. */
static bool run(rt_pickle_machine *m) {
    for (;;) {
        size_t start = m->at;
        const uint8_t *opcode = take(m, 1);
        if (!opcode) return rt_fail(m->error, "the pickle ends without a STOP");
        if (*opcode == '.') break;
        if (!run_opcode(m, *opcode)) return rt_fail_in(m->error, "byte %zu", start);
    }
    m->pickle->top = rt_pickle_pop(m);
    return m->pickle->top != NULL;
}

rt_pickle *rt_pickle_parse(const void *bytes, size_t size, rt_error *error) {
    if (size > RT_PICKLE_MAX_BYTES) {
        rt_fail(error, "a pickle of %zu bytes; expected at most %d", size, RT_PICKLE_MAX_BYTES);
        return NULL;
    }
    rt_pickle *pickle = calloc(1, sizeof *pickle);
    if (!pickle) {
        rt_fail(error, "out of memory");
        return NULL;
    }
    rt_pickle_machine m = {.pickle = pickle, .bytes = bytes, .size = size, .error = error};
    if (run(&m)) return pickle;
    rt_pickle_free(pickle);
    return NULL;
}

void rt_pickle_free(rt_pickle *pickle) {
    while (pickle && pickle->chunks) {
        rt_pickle_chunk *next = pickle->chunks->next;
        free(pickle->chunks);
        pickle->chunks = next;
    }
    free(pickle);
}

const rt_pickle_value *rt_pickle_top(const rt_pickle *pickle) {
    return pickle->top;
}

const char *rt_pickle_kind_name(rt_pickle_kind kind) {
    static const char *const names[] = {
        [RT_PICKLE_NONE] = "None",          [RT_PICKLE_BOOL] = "a bool",
        [RT_PICKLE_INT] = "a whole number", [RT_PICKLE_FLOAT] = "a number",
        [RT_PICKLE_STRING] = "a string",    [RT_PICKLE_LIST] = "a list",
        [RT_PICKLE_TUPLE] = "a tuple",      [RT_PICKLE_DICT] = "a dict",
        [RT_PICKLE_GLOBAL] = "a name",      [RT_PICKLE_OBJECT] = "an object",
        [RT_PICKLE_STORAGE] = "a storage",  [RT_PICKLE_TENSOR] = "a tensor",
        [RT_PICKLE_MARK] = "a mark"};
    return names[kind];
}

const rt_pickle_value *rt_pickle_get(const rt_pickle_value *dict, const char *key) {
    if (dict->kind != RT_PICKLE_DICT) return NULL;
    for (size_t i = dict->items.count; i >= 2; i -= 2) {
        const rt_pickle_value *found = dict->items.item[i - 2];
        if (found->kind == RT_PICKLE_STRING && strcmp(found->string.text, key) == 0)
            return dict->items.item[i - 1];
    }
    return NULL;
}
