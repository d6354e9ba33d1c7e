/*
 * zcsave: do blocks lent from a savefile hold what a stock libpcap reads
 * from it, and does it end in the same way?
 *
 *	zcsave STOCK.so PATCHED.so FIRST-SEED COUNT [file...]
 *
 * For each seed a savefile is made up, whole, cut off or damaged, and read
 * with a stock libpcap's callback, and in several ways with the patched one:
 * lent, lent and dispatched in turn, with several blocks held, from the
 * file, from a pipe, and from memory.  With files given, those are read.
 */
#include "zcsave.h"
#include "zcview.h"

struct lib {
	pcap_t	*(*fopen_offline_with_tstamp_precision)(FILE *, u_int, char *);
	int	(*dispatch)(pcap_t *, int, pcap_handler, u_char *);
	int	(*next_ex)(pcap_t *, struct pcap_pkthdr **, const u_char **);
	int	(*compile)(pcap_t *, struct bpf_program *, const char *, int,
		    bpf_u_int32);
	int	(*setfilter)(pcap_t *, struct bpf_program *);
	void	(*freecode)(struct bpf_program *);
	char	*(*geterr)(pcap_t *);
	void	(*close)(pcap_t *);
	int	(*zc_info)(pcap_t *, struct pcap_zc_info *);
	int	(*zc_next)(pcap_t *, struct pcap_zc_block *, int);
	int	(*zc_next_viewed)(pcap_t *, struct pcap_zc_block *, int,
		    pcap_zc_viewer, u_char *);
	int	(*zc_release)(pcap_t *, struct pcap_zc_block *);
};

unsigned seed;

void
die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "zcsave: seed %u: ", seed);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static void
load(struct lib *l, const char *path, int zc)
{
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (so == NULL)
		die("%s", dlerror());
#define GET(m)	if ((*(void **)&l->m = dlsym(so, "pcap_" #m)) == NULL) \
			die("%s", dlerror())
	GET(fopen_offline_with_tstamp_precision); GET(dispatch);
	GET(next_ex); GET(compile);
	GET(setfilter); GET(freecode); GET(geterr); GET(close);
	if (zc) {
		GET(zc_info); GET(zc_next); GET(zc_next_viewed); GET(zc_release);
	}
}

/* what came of reading */
struct result {
	struct mem pkts;	/* header and data, one after the other */
	u_int count;
	int status;		/* 0: end of file, -1: error */
	char error[PCAP_ERRBUF_SIZE];
};

static int nano;

static void
add(struct result *r, uint64_t ts_ns, uint32_t caplen, uint32_t len,
    const u_char *bytes)
{
	put(&r->pkts, &ts_ns, 8);
	put(&r->pkts, &caplen, 4);
	put(&r->pkts, &len, 4);
	put(&r->pkts, bytes, caplen);
	r->count++;
}

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	add((struct result *)user, (uint64_t)h->ts.tv_sec * 1000000000 +
	    (uint64_t)h->ts.tv_usec * (nano ? 1 : 1000), h->caplen, h->len,
	    bytes);
}

enum how { FROM_FILE, FROM_PIPE, FROM_MEMORY, HOWS };

static pid_t child;

static FILE *
source(const struct mem *m, enum how how, const char *path)
{
	int fds[2];
	FILE *f;

	if (path != NULL && how == FROM_FILE)
		return (fopen(path, "rb"));
	switch (how) {
	case FROM_FILE:
		f = tmpfile();
		if (fwrite(m->p, 1, m->n, f) != m->n || fflush(f) != 0)
			die("tmpfile");
		rewind(f);
		return (f);
	case FROM_MEMORY:
		return (fmemopen(m->p, m->n ? m->n : 1, "rb"));
	default:
		if (pipe(fds) == -1)
			die("pipe");
		fflush(stdout);
		child = fork();
		if (child == 0) {
			size_t at = 0;

			close(fds[0]);
			signal(SIGPIPE, SIG_DFL);
			srand(seed);
			while (at < m->n) {
				size_t n = 1 + (rnd(4) ? rnd(100000) : rnd(100));
				ssize_t w;

				if (n > m->n - at)
					n = m->n - at;
				w = write(fds[1], m->p + at, n);
				if (w < 0)
					_exit(1);
				at += w;
				if (rnd(20) == 0)
					usleep(500);
			}
			_exit(0);
		}
		close(fds[1]);
		return (fdopen(fds[0], "rb"));
	}
}

static pcap_t *
open_it(struct lib *l, FILE *f, const char *filter, struct result *r)
{
	struct bpf_program prog;
	pcap_t *p = l->fopen_offline_with_tstamp_precision(f,
	    nano ? PCAP_TSTAMP_PRECISION_NANO : PCAP_TSTAMP_PRECISION_MICRO,
	    r->error);

	if (p == NULL) {
		fclose(f);
		r->status = -2;
		return (NULL);
	}
	if (filter != NULL && l->compile(p, &prog, filter, 1, 0) == 0) {
		if (l->setfilter(p, &prog) != 0)
			die("setfilter: %s", l->geterr(p));
		l->freecode(&prog);
	}
	return (p);
}

static void
reap(void)
{
	int status;

	if (child > 0)
		waitpid(child, &status, 0);
	child = 0;
}

static uint64_t all_packets, all_blocks, all_errors, copied;

static void
read_stock(struct lib *l, const struct mem *m, const char *path,
    const char *filter, struct result *r)
{
	pcap_t *p;

	memset(r, 0, sizeof(*r));
	p = open_it(l, source(m, path ? FROM_FILE : FROM_MEMORY, path), filter, r);
	if (p == NULL)
		return;
	r->status = l->dispatch(p, -1, callback, (u_char *)r);
	if (r->status < 0)
		snprintf(r->error, sizeof(r->error), "%s", l->geterr(p));
	else
		r->status = 0;
	l->close(p);
}

static void
read_patched(struct lib *l, const struct mem *m, const char *path,
    const char *filter, enum how how, int mix, int hold, struct result *r)
{
	struct pcap_zc_block held[8];
	struct pcap_zc_info info;
	struct pcap_pkthdr *h;
	const u_char *bytes;
	struct mem copies[8];
	u_int nheld = 0, i, j;
	int status, closed_early = rnd(2);
	pcap_t *p;

	memset(r, 0, sizeof(*r));
	memset(copies, 0, sizeof(copies));
	p = open_it(l, source(m, how, path), filter, r);
	if (p == NULL) {
		reap();
		return;
	}
	for (;;) {
		switch (mix ? rnd(4) : 0) {
		case 1:
			status = l->dispatch(p, 1 + rnd(50), callback, (u_char *)r);
			if (status == 0)
				goto eof;
			break;
		case 2:
			status = l->next_ex(p, &h, &bytes);
			if (status == -2)
				goto eof;
			if (status == 1)
				callback((u_char *)r, h, bytes);
			break;
		default:
			if (rnd(2))
				status = l->zc_next(p, &held[nheld],
				    rnd(3) ? -1 : 20);
			else {
				struct viewed seen = { .count = 0 };
				const char *wrong;

				status = l->zc_next_viewed(p, &held[nheld],
				    rnd(3) ? -1 : 20, view, (u_char *)&seen);
				wrong = view_ends(&seen, status, &held[nheld]);
				if (wrong != NULL)
					die("shown: %s", wrong);
			}
			if (status == PCAP_ERROR_ZC_EOF)
				goto eof;
			if (status != 1)
				break;
			for (j = 0; j < held[nheld].count; j++) {
				const struct pcap_zc_record *x = &held[nheld].index[j];

				if ((uint64_t)x->offset + x->caplen > held[nheld].length)
					die("a record outside its block");
				add(r, x->ts_ns, x->caplen, x->wirelen,
				    held[nheld].base + x->offset);
			}
			copies[nheld].n = 0;
			put(&copies[nheld], held[nheld].base, held[nheld].length);
			all_blocks++;
			nheld++;
		}
		if (status == PCAP_ERROR_ZC_HELD && nheld < 8)
			die("held, with %u blocks lent", nheld);
		while (nheld > 0 && ((int)nheld >= hold ||
		    status == PCAP_ERROR_ZC_HELD)) {
			i = rnd(nheld);
			if (memcmp(copies[i].p, held[i].base, copies[i].n) != 0)
				die("a lent block has changed");
			if (l->zc_release(p, &held[i]) != 0)
				die("release: %s", l->geterr(p));
			held[i] = held[--nheld];
			struct mem t = copies[i];
			copies[i] = copies[nheld];
			copies[nheld] = t;
			if (status == PCAP_ERROR_ZC_HELD)
				break;
		}
		if (status < 0 && status != PCAP_ERROR_ZC_HELD) {
			r->status = status;
			snprintf(r->error, sizeof(r->error), "%s", l->geterr(p));
			break;
		}
	}
	if (0) {
eof:
		r->status = 0;
		/* and it stays so */
		if (l->zc_next(p, &held[nheld], 0) != PCAP_ERROR_ZC_EOF)
			die("after the end there's more: %s", l->geterr(p));
	}
	info.size = sizeof(info);
	l->zc_info(p, &info);
	copied += info.copied;
	if (closed_early)
		l->close(p);
	for (i = 0; i < nheld; i++) {
		if (memcmp(copies[i].p, held[i].base, copies[i].n) != 0)
			die("a lent block has changed");
		if (l->zc_release(p, &held[i]) != 0)
			die("release");
	}
	if (!closed_early)
		l->close(p);
	for (i = 0; i < 8; i++)
		free(copies[i].p);
	reap();
}

static void
compare(const struct result *a, const struct result *b, const char *what)
{
	if (a->count != b->count || a->pkts.n != b->pkts.n ||
	    (a->pkts.n != 0 && memcmp(a->pkts.p, b->pkts.p, a->pkts.n) != 0))
		die("%s: %u packets, %zu bytes: stock has %u, %zu%s (%s / %s)", what,
		    b->count, b->pkts.n, a->count, a->pkts.n,
		    a->count == b->count ? ", or other ones" : "",
		    a->error, b->error);
	if (a->status != b->status || strcmp(a->error, b->error) != 0)
		die("%s: ends with %d %s, stock with %d %s", what, b->status,
		    b->error, a->status, a->error);
}

int
main(int argc, char **argv)
{
	struct lib stock, patched;
	struct mem m = { NULL, 0, 0 };
	struct result a, b;
	char what[100];
	unsigned first, count;
	int i, how, mix;

	if (argc < 5)
		die("usage: zcsave STOCK PATCHED FIRST COUNT [file...]");
	load(&stock, argv[1], 0);
	load(&patched, argv[2], 1);
	first = atoi(argv[3]);
	count = atoi(argv[4]);
	srand(99);
	make_noise();
	for (seed = first; seed < first + count; seed++) {
		const char *path = NULL, *filter;

		srand(seed);
		if (argc > 5) {
			FILE *f;

			path = argv[5 + seed % (argc - 5)];
			f = fopen(path, "rb");
			if (f == NULL)
				die("%s: %s", path, strerror(errno));
			m.n = 0;
			while ((i = getc(f)) != EOF) {
				u_char c = i;
				put(&m, &c, 1);
			}
			fclose(f);
		} else {
			make_savefile(&m);
		}
		nano = rnd(2);
		filter = rnd(3) ? NULL : rnd(2) ? "greater 100" : "less 20";
		read_stock(&stock, &m, path, filter, &a);
		for (how = 0; how < HOWS; how++) {
			for (mix = 0; mix < 2; mix++) {
				int hold = 1 + rnd(8);

				snprintf(what, sizeof(what), "%s, %s, %d held, %zu bytes",
				    how == FROM_FILE ? "file" :
				    how == FROM_PIPE ? "pipe" : "memory",
				    mix ? "mixed" : "lent", hold, m.n);
				srand(seed * 7 + how * 2 + mix);
				read_patched(&patched, &m, path, filter, how,
				    mix, hold, &b);
				compare(&a, &b, what);
				free(b.pkts.p);
			}
		}
		all_packets += a.count;
		all_errors += a.status < 0;
		free(a.pkts.p);
	}
	free(m.p);
	printf("%u files, %llu packets, %llu of the files end with an error; %llu blocks lent, %llu bytes copied\n",
	    count, (unsigned long long)all_packets,
	    (unsigned long long)all_errors, (unsigned long long)all_blocks,
	    (unsigned long long)copied);
	return (0);
}
