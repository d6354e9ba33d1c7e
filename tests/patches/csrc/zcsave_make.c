/*
 * zcsave: savefiles at random, whole, cut off or damaged.
 */
#include "zcsave.h"

void
put(struct mem *m, const void *p, size_t n)
{
	while (m->n + n > m->size) {
		m->size = m->size ? 2 * m->size : 1 << 16;
		m->p = realloc(m->p, m->size);
	}
	if (n != 0)
		memcpy(m->p + m->n, p, n);
	m->n += n;
}

static int swap;
static uint32_t u32(uint32_t v) { return (swap ? __builtin_bswap32(v) : v); }
static uint16_t u16(uint16_t v) { return (swap ? __builtin_bswap16(v) : v); }
static void put32(struct mem *m, uint32_t v) { v = u32(v); put(m, &v, 4); }
static void put16(struct mem *m, uint16_t v) { v = u16(v); put(m, &v, 2); }

int
rnd(int n)
{
	return (rand() % n);
}

static u_char noise[600000];

void
make_noise(void)
{
	size_t k;

	for (k = 0; k < sizeof(noise); k++)
		noise[k] = rand();
}

static int
some_length(void)
{
	switch (rnd(12)) {
	case 0: return (0);
	case 1: return (rnd(20));
	case 2: return (rnd(9000));
	case 3: return (rnd(30) == 0 ? rnd(262145) : 60);
	default: return (40 + rnd(200));
	}
}

static const int types[] = { 1, 1, 1, 101, 113, 276, 189, 220, 239, 117, 0 };

static void
make_pcap(struct mem *m)
{
	static const uint32_t magics[] = { 0xa1b2c3d4, 0xa1b2c3d4, 0xa1b23c4d,
	    0xa1b2cd34 };
	uint32_t magic = magics[rnd(4)];
	int n = rnd(3) == 0 ? rnd(20000) : rnd(300), i;
	int minor = rnd(6) == 0 ? 2 + rnd(2) : 4;
	uint32_t snaplen = rnd(4) == 0 ? 50 + rnd(200) : 262144;

	put32(m, magic); put16(m, 2); put16(m, minor);
	put32(m, 0); put32(m, 0); put32(m, snaplen);
	put32(m, types[rnd(sizeof(types) / sizeof(types[0]))]);
	for (i = 0; i < n; i++) {
		uint32_t len = some_length(), cap = rnd(3) ? len : len / 2;

		if (rnd(2) && cap > snaplen)
			cap = snaplen;
		put32(m, 1000000000 + i);
		put32(m, rnd(1000000));
		put32(m, minor < 3 || (minor == 3 && rnd(2)) ? len : cap);
		put32(m, minor < 3 || (minor == 3 && rnd(2)) ? cap : len);
		if (minor == 3) {
			/* make it unambiguous */
			uint32_t a = u32(cap), b = u32(len);
			memcpy(m->p + m->n - 8, &a, 4);
			memcpy(m->p + m->n - 4, &b, 4);
		}
		if (magic == 0xa1b2cd34)
			put(m, noise, 8);
		put(m, noise + rnd(1000), cap);
	}
}

static void
block(struct mem *m, uint32_t type, const struct mem *body)
{
	put32(m, type);
	put32(m, 12 + (body->n + 3) / 4 * 4);
	put(m, body->p, body->n);
	put(m, "\0\0\0", (4 - body->n % 4) % 4);
	put32(m, 12 + (body->n + 3) / 4 * 4);
}

static void
make_pcapng(struct mem *m)
{
	struct mem b = { NULL, 0, 0 };
	int n = rnd(3) == 0 ? rnd(20000) : rnd(300), i, ifs = 0, j;
	uint32_t snaplen = rnd(4) == 0 ? 9000 : 262144;
	int type = types[rnd(sizeof(types) / sizeof(types[0]))];

	for (i = 0; i < n; i++) {
		b.n = 0;
		if (i == 0 || rnd(3000) == 0) {
			put32(&b, 0x1a2b3c4d); put16(&b, 1); put16(&b, 0);
			put32(&b, 0xffffffff); put32(&b, 0xffffffff);
			block(m, 0x0a0d0d0a, &b);
			ifs = 0;
		}
		b.n = 0;
		if (ifs == 0 || rnd(1000) == 0) {
			put16(&b, type); put16(&b, 0); put32(&b, snaplen);
			if (rnd(2)) {
				static const u_char res[] = { 3, 6, 9, 0x80 | 20, 12 };
				put16(&b, 9); put16(&b, 1);
				put(&b, &res[rnd(5)], 1); put(&b, "\0\0\0", 3);
			}
			if (rnd(4) == 0) {
				put16(&b, 14); put16(&b, 8);
				put32(&b, 0); put32(&b, 100);
			}
			put16(&b, 0); put16(&b, 0);
			block(m, 1, &b);
			ifs++;
		}
		b.n = 0;
		uint32_t len = some_length(), cap = rnd(3) ? len : len / 2;
		if (cap > snaplen)
			cap = snaplen;
		switch (rnd(8)) {
		case 0:			/* SPB */
			put32(&b, len);
			if (len > snaplen)
				len = snaplen;
			put(&b, noise, len);
			block(m, 3, &b);
			break;
		case 1:			/* PB */
			put16(&b, rnd(ifs)); put16(&b, 0);
			put32(&b, rnd(10)); put32(&b, rand());
			put32(&b, cap); put32(&b, len);
			put(&b, noise + rnd(100), cap);
			block(m, 2, &b);
			break;
		case 2:			/* something else, maybe large */
			j = rnd(200) == 0 ? rnd(600000) : rnd(3000);
			put(&b, noise, j);
			block(m, 4 + rnd(3), &b);
			break;
		default:		/* EPB */
			put32(&b, rnd(ifs));
			put32(&b, 0x5a5a5); put32(&b, rand());
			put32(&b, cap); put32(&b, len);
			put(&b, noise + rnd(100), cap);
			put(&b, "\0\0\0", (4 - b.n % 4) % 4);
			if (rnd(3) == 0) {
				put16(&b, 1); put16(&b, 8);
				put(&b, "comment!", 8);
				put16(&b, 0); put16(&b, 0);
			}
			block(m, 6, &b);
		}
	}
	free(b.p);
}

void
make_savefile(struct mem *m)
{
	int i;

	m->n = 0;
	swap = rnd(2);
	if (rnd(2))
		make_pcap(m);
	else
		make_pcapng(m);
	switch (rnd(4)) {
	case 0:		/* cut off */
		m->n = m->n ? rnd(m->n) : 0;
		break;
	case 1:		/* damaged */
		for (i = rnd(10); i > 0 && m->n > 24; i--)
			m->p[rnd(m->n < 2000 || rnd(2) ? m->n : 2000)] = rand();
		break;
	}
}
