/*
 * Iterators over a block's packets: of each the bytes or a view, by itself or in a tuple behind its time or its
 * record, with their number in front of that, or with another number at the end.
 *
 * The objects are made when their turn comes, so that a program that goes from packet to packet gets memory that
 * is still in the cache, where lists of them would take new memory for each.
 */
#include "records.h"
#include "reuse.h"

struct api pczc_py;
size_t pczc_head;
int pczc_parallel;

static unsigned forks;	/* how many forks lie between this process and the one that loaded the library */

/*
 * What stands before a packet; companion.Stamp in __init__.py has the same values.  LENGTH_: the packet's length in
 * front of that, and no `kinds`.
 */
enum stamp { NONE, TIME, SECONDS, FINE_SECONDS, RECORD, LENGTH_SECONDS, LENGTH_WHOLE };

/* What an iterator adds to an object.  All 0, as who calls the type gets it, is one that has ended. */
struct each {
	const u_char		*base;		/* of the block */
	uint64_t		length;
	const struct record	*index;
	uint32_t		count;
	uint32_t		at;		/* the next one's place in the index */
	enum stamp		stamp;
	unsigned		forks;
	const uint8_t		*kinds;		/* a number that stands behind each packet, or NULL */
	object			*type;		/* RECORD: what to make */
	object			*whole;		/* a memoryview of the block, for views; NULL: bytes */
	object			*keeper;	/* keeps base and the index alive; NULL at the end */
	struct cells		cells;
};

static struct each *
each_of(object *self)
{
	return ((struct each *)((char *)self + pczc_head));
}

/* To the microsecond, as programs add up libpcap's struct timeval; the same sum gives the same float. */
static double
seconds(uint64_t ts_ns)
{
	uint64_t us = ts_ns / 1000;

	return ((double)(us / 1000000) + (double)(us % 1000000) / 1e6);
}

/* With all nanoseconds, as they do where tv_usec counts those. */
static double
fine_seconds(uint64_t ts_ns)
{
	return ((double)(ts_ns / 1000000000u) + (double)(ts_ns % 1000000000u) * 1e-9);
}

static int
has_length(const struct each *each)
{
	return (each->stamp == LENGTH_SECONDS || each->stamp == LENGTH_WHOLE);
}

static object *
new_stamp(struct each *each, const struct record *r)
{
	object *made;

	switch (each->stamp) {
	case NONE:
		break;
	case TIME:
		return (pczc_py.from_u64(r->ts_ns));
	case SECONDS:
	case LENGTH_SECONDS:
		return (pczc_py.from_double(seconds(r->ts_ns)));
	case FINE_SECONDS:
		return (pczc_py.from_double(fine_seconds(r->ts_ns)));
	case LENGTH_WHOLE:
		return (pczc_py.from_u64(r->ts_ns / 1000000000u));
	case RECORD:
		made = pczc_py.alloc(each->type, sizeof(*r));
		if (made != NULL)
			memcpy(pczc_py.bytes_memory(made), r, sizeof(*r));
		return (made);
	}
	return (NULL);
}

static object *
new_packet(struct each *each, const struct record *r)
{
	uint32_t caplen = record_caplen(r, each->length);

	if (each->whole != NULL)
		return (pczc_py.slice(each->whole, r->offset, (py_ssize)r->offset + caplen));
	return (pczc_py.bytes((const char *)each->base + r->offset, caplen));
}

static object *
new_tuple(struct each *each, struct turn *turn, uint32_t at)
{
	const struct record *r = &each->index[at];
	object *items[3];
	int count = 0;

	if (has_length(each))
		items[count++] = pczc_py.from_u64(record_caplen(r, each->length));
	if (count == 0 || items[count - 1] != NULL)
		items[count++] = new_stamp(each, r);
	if (items[count - 1] != NULL)
		items[count++] = new_packet(each, r);
	if (items[count - 1] != NULL && each->kinds != NULL)
		items[count++] = pczc_py.from_u64(each->kinds[at]);
	if (items[count - 1] != NULL)
		return (pczc_tuple(turn, items, count));
	while (--count > 0)
		pczc_py.decref(items[count - 1]);
	return (NULL);
}

static int
stamp_again(struct each *each, struct turn *turn, object **place, const struct record *r)
{
	if (each->stamp == TIME)
		return (time_again(turn, place, r->ts_ns));
	if (each->stamp == SECONDS || each->stamp == LENGTH_SECONDS)
		return (seconds_again(place, seconds(r->ts_ns)));
	if (each->stamp == LENGTH_WHOLE)
		return (time_again(turn, place, r->ts_ns / 1000000000u));
	if (each->stamp == FINE_SECONDS)
		return (seconds_again(place, fine_seconds(r->ts_ns)));
	if (count_of(*place) != 1)
		return (replace(place, new_stamp(each, r)));
	memcpy(pczc_py.bytes_memory(*place), r, sizeof(*r));
	return (1);
}

static int
fill(struct each *each, struct turn *turn, object **items, uint32_t at)
{
	const struct record *r = &each->index[at];
	uint32_t caplen = record_caplen(r, each->length);
	int done = !has_length(each) || replace(items++, pczc_py.from_u64(caplen));

	done = done && stamp_again(each, turn, items++, r);
	if (done && each->whole != NULL)
		done = replace(items++, new_packet(each, r));
	else if (done)
		done = packet_again(&each->cells, turn, items++, (const char *)each->base + r->offset, caplen);
	if (done && each->kinds != NULL)
		done = replace(items, pczc_py.from_u64(each->kinds[at]));
	return (done);
}

static object *
make(struct each *each, uint32_t at)
{
	struct turn *turn = &each->cells.turns[at % TURNS];
	object *made = turn->tuple, **items;

	if (each->stamp == NONE)
		made = new_packet(each, &each->index[at]);
	else if ((items = tuple_again(turn)) == NULL)
		made = new_tuple(each, turn, at);
	else if (!fill(each, turn, items, at)) {
		pczc_py.decref(made);
		made = NULL;
	}
	if (made == NULL)	/* it is the next one's again */
		__atomic_store_n(&each->at, at, __ATOMIC_RELAXED);
	return (made);
}

/*
 * The same where a tuple or a view is made: that starts the garbage collector now and then, and that code which
 * ends this very iterator or lets go of it.
 */
static object *
make_held(object *it, uint32_t at)
{
	struct each *each = each_of(it);
	object *held[] = { each->whole, each->keeper, it }, *made;
	size_t i;

	for (i = 0; i < sizeof(held) / sizeof(*held); i++)
		pczc_py.incref(held[i]);
	made = make(each, at);
	for (i = 0; i < sizeof(held) / sizeof(*held); i++)
		pczc_py.decref(held[i]);
	return (made);
}

static int
makes_bytes_only(const struct each *each, uint32_t at)
{
	return (each->whole == NULL && (each->stamp == NONE || is_free(&each->cells.turns[at % TURNS])));
}

/* Let go of the block.  That may run code of Python's, which may come back here: it finds an end. */
static void
finish(struct each *each)
{
	object *had[] = { each->type, each->whole, each->keeper };
	size_t i;

	each->count = each->at = 0;
	each->type = each->whole = each->keeper = NULL;
	pczc_forget(&each->cells);
	for (i = 0; i < sizeof(had) / sizeof(*had); i++)
		pczc_py.decref(had[i]);
}

/*
 * tp_iternext: NULL without an exception is the end, in a forked child too: the memory is its parent's.
 *
 * Threads that really run side by side may get the same packet, as of Python's own iterators, but nothing is
 * taken from under them.
 */
static object *
next(object *it)
{
	struct each *each = each_of(it);
	uint32_t at = __atomic_load_n(&each->at, __ATOMIC_RELAXED);

	if (at >= each->count || each->forks != forks) {
		if (!pczc_parallel)
			finish(each);
		return (NULL);
	}
	__atomic_store_n(&each->at, at + 1, __ATOMIC_RELAXED);
	return (makes_bytes_only(each, at) ? make(each, at) : make_held(it, at));
}

static object *
self(object *it)
{
	pczc_py.incref(it);
	return (it);
}

static object *
length_hint(object *it, object *nothing)
{
	struct each *each = each_of(it);
	uint32_t at = __atomic_load_n(&each->at, __ATOMIC_RELAXED);

	(void)nothing;
	return (pczc_py.from_u64(at < each->count && each->forks == forks ? each->count - at : 0));
}

static void
dealloc(object *it)
{
	object *type = pczc_py.type_of(it);

	finish(each_of(it));
	pczc_py.object_free(it);
	pczc_py.decref(type);
	pczc_py.decref(type);	/* the one that the object held */
}

/* PyMethodDef, PyType_Slot and PyType_Spec, which are part of Python's stable ABI. */
struct method {
	const char	*name;
	object		*(*call)(object *, object *);
	int		flags;
	const char	*doc;
};

struct slot {
	int	which;
	void	*what;
};

struct spec {
	const char	*name;
	int		size, item_size;
	unsigned	flags;
	struct slot	*slots;
};

/* From Python's typeslots.h and methodobject.h. */
enum { TP_DEALLOC = 52, TP_ITER = 62, TP_ITERNEXT = 63, TP_METHODS = 64, METH_NOARGS = 4 };

/*
 * Prepare for the interpreter whose functions `api` has and whose plain objects have `size` bytes, and give the
 * type of the iterators.  `unlocked`: its threads run side by side.
 */
object *
pczc_start(const struct api *api, uint64_t size, int unlocked)
{
	static struct method methods[] = {
		{ "__length_hint__", length_hint, METH_NOARGS, NULL },
		{ NULL, NULL, 0, NULL },
	};
	static struct slot slots[] = {
		{ TP_DEALLOC, (void *)dealloc },
		{ TP_ITER, (void *)self },
		{ TP_ITERNEXT, (void *)next },
		{ TP_METHODS, methods },
		{ 0, NULL },
	};
	struct spec spec = { "pypcapzc.companion.Each", 0, 0, 0, slots };

	pczc_py = *api;
	pczc_head = (size + 7) & ~(size_t)7;
	pczc_parallel = unlocked;
	pczc_learn();
	spec.size = (int)(pczc_head + sizeof(struct each));
	return (pczc_py.type_from_spec(&spec));
}

/* This is a forked child: iterators that its parent made have ended. */
void
pczc_forked(void)
{
	forks++;
}

/*
 * An iterator, of type `iterator`, over `count` packets whose records begin at `index`, in a block of `length`
 * bytes at `base`; for the others see struct each.
 */
object *
pczc_each(object *iterator, int stamp, object *type, const u_char *base, uint64_t length,
    const struct record *index, uint32_t count, const uint8_t *kinds, object *whole, object *keeper)
{
	object *it = pczc_py.alloc(iterator, 0);
	struct each *each;

	if (it == NULL)
		return (NULL);
	each = each_of(it);
	each->base = base;
	each->length = length;
	each->index = index;
	each->count = count;
	each->kinds = kinds;
	each->stamp = (enum stamp)stamp;
	each->forks = forks;
	each->type = type;
	each->whole = whole;
	each->keeper = keeper;
	pczc_py.incref(type);
	pczc_py.incref(whole);
	pczc_py.incref(keeper);
	return (it);
}

uint32_t
pczc_abi(void)
{
	return (5);	/* companion.ABI in __init__.py */
}
