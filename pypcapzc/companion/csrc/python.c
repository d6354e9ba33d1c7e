/*
 * Lists of Python objects from a block, in one call: bytes, times, records.
 *
 * There are no headers of Python's here.  The functions of its C API are handed over by their addresses, so
 * that one build serves every version of the interpreter.  Call these with its lock held (ctypes.PyDLL).
 * Where an object cannot be made, they give NULL and leave the interpreter's exception set.
 */
#include <string.h>

#include "records.h"

typedef void object;
typedef ssize_t py_ssize;

/* companion.Api in __init__.py has the same fields. */
struct api {
	object	*(*list_new)(py_ssize);
	int	(*list_set)(object *, py_ssize, object *);	/* takes the reference */
	void	(*decref)(object *);
	object	*(*bytes)(const char *, py_ssize);
	object	*(*from_u64)(unsigned long long);
	object	*(*from_double)(double);
	object	*(*alloc)(object *, py_ssize);			/* PyType_GenericAlloc */
	char	*(*bytes_memory)(object *);			/* PyBytes_AsString */
};

/* Put an object into a list; what could not be made ends it. */
static int
put(const struct api *py, object *list, py_ssize i, object *made)
{
	return (made != NULL && py->list_set(list, i, made) == 0);
}

object *
pczc_packets(const struct api *py, const u_char *base, uint64_t length, const struct record *index,
    uint32_t count)
{
	object *list = py->list_new(count);
	uint32_t i;

	for (i = 0; list != NULL && i < count; i++) {
		const char *packet = (const char *)base + index[i].offset;

		if (!put(py, list, i, py->bytes(packet, record_caplen(&index[i], length)))) {
			py->decref(list);
			return (NULL);
		}
	}
	return (list);
}

#define LINE	64	/* bytes */
#define AHEAD	4	/* packets */

/* A packet of more than a few lines is on its way into the cache before its turn comes: a tenth of the time. */
static void
fetch(const u_char *base, uint64_t length, const struct record *r)
{
	uint32_t i, caplen = record_caplen(r, length);

	for (i = 4 * LINE; i < caplen; i += LINE)
		__builtin_prefetch(base + r->offset + i);
}

/* The time and the bytes of each packet, in turn. */
object *
pczc_pairs(const struct api *py, const u_char *base, uint64_t length, const struct record *index,
    uint32_t count)
{
	object *list = py->list_new(2 * (py_ssize)count);
	uint32_t i;

	for (i = 0; list != NULL && i < count; i++) {
		const char *packet = (const char *)base + index[i].offset;
		py_ssize at = 2 * (py_ssize)i;

		if (i + AHEAD < count)
			fetch(base, length, &index[i + AHEAD]);
		if (!put(py, list, at, py->from_u64(index[i].ts_ns)) ||
		    !put(py, list, at + 1, py->bytes(packet, record_caplen(&index[i], length)))) {
			py->decref(list);
			return (NULL);
		}
	}
	return (list);
}

object *
pczc_times(const struct api *py, const struct record *index, uint32_t count)
{
	object *list = py->list_new(count);
	uint32_t i;

	for (i = 0; list != NULL && i < count; i++) {
		if (!put(py, list, i, py->from_u64(index[i].ts_ns))) {
			py->decref(list);
			return (NULL);
		}
	}
	return (list);
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

/* Seconds since the epoch; `fine` chooses between the two. */
object *
pczc_float_times(const struct api *py, const struct record *index, uint32_t count, int fine)
{
	object *list = py->list_new(count);
	uint32_t i;

	for (i = 0; list != NULL && i < count; i++) {
		double value = fine ? fine_seconds(index[i].ts_ns) : seconds(index[i].ts_ns);

		if (!put(py, list, i, py->from_double(value))) {
			py->decref(list);
			return (NULL);
		}
	}
	return (list);
}

/* Each packet's record as an object of `type`, a subclass of bytes that adds no members. */
object *
pczc_records(const struct api *py, object *type, const struct record *index, uint32_t count)
{
	object *list = py->list_new(count), *made;
	uint32_t i;

	for (i = 0; list != NULL && i < count; i++) {
		made = py->alloc(type, sizeof(*index));
		if (made != NULL)
			memcpy(py->bytes_memory(made), &index[i], sizeof(*index));
		if (!put(py, list, i, made)) {
			py->decref(list);
			return (NULL);
		}
	}
	return (list);
}

uint32_t
pczc_abi(void)
{
	return (1);	/* companion.ABI in __init__.py */
}
