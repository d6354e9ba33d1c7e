/* Many packets as two objects: pcapy-ng's next_batch(). */
#include <string.h>

#include "python.h"
#include "records.h"

struct batch_record {
	uint32_t	sec, usec, offset, caplen;
};

static uint64_t
total(const struct record *index, uint32_t count, uint64_t length)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < count; i++)
		sum += record_caplen(&index[i], length);
	return (sum);
}

static void
fill(const u_char *base, uint64_t length, const struct record *index, uint32_t count, char *out, char *meta)
{
	struct batch_record r = { 0, 0, 0, 0 };
	uint32_t i;

	for (i = 0; i < count; i++) {
		r.sec = (uint32_t)(index[i].ts_ns / 1000000000);
		r.usec = (uint32_t)(index[i].ts_ns / 1000 % 1000000);
		r.caplen = record_caplen(&index[i], length);
		memcpy(meta + i * sizeof(r), &r, sizeof(r));
		if (r.caplen != 0)
			memcpy(out + r.offset, base + index[i].offset, r.caplen);
		r.offset += r.caplen;
	}
}

/* (all packets' bytes one after the other, a batch_record of each) of `count` packets, as two bytes objects. */
object *
pczc_batch(const u_char *base, uint64_t length, const struct record *index, uint32_t count)
{
	object *data = pczc_py.bytes(NULL, (py_ssize)total(index, count, length));
	object *meta = pczc_py.bytes(NULL, (py_ssize)count * (py_ssize)sizeof(struct batch_record));
	object *both = data != NULL && meta != NULL ? pczc_py.tuple_new(2) : NULL;

	if (both == NULL) {
		pczc_py.decref(data);
		pczc_py.decref(meta);
		return (NULL);
	}
	fill(base, length, index, count, pczc_py.bytes_memory(data), pczc_py.bytes_memory(meta));
	pczc_py.tuple_set(both, 0, data);
	pczc_py.tuple_set(both, 1, meta);
	return (both);
}
