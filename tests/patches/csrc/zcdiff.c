/*
 * zcdiff: do lent blocks hold what a stock libpcap hands to its callback?
 *
 * Loads two libpcaps, captures the same traffic with both, and compares
 * packet by packet: time stamp, captured length, length, bytes.
 *
 *	zcdiff STOCK.so PATCHED.so CAPTURE-DEVICE SEND-DEVICE PACKETS
 *	    [snaplen=N] [filter=EXPR] [maxlen=N] [vlan=PERCENT] [seed=N]
 *	    [block=BYTES] [micro] [in] [dispatch] [hold=N] [mix] [unlike]
 *
 * The packets are sent here, in bursts that fit into the rings, each of
 * which ends with a frame that both sides wait for.  With "unlike" the two
 * sides cut packets to different lengths, which has to be noticed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>
#include <pcap/zc.h>

#include "zcview.h"

#define BURST	4000

struct lib {
	const char *name;
	pcap_t	*(*create)(const char *, char *);
	int	(*set_snaplen)(pcap_t *, int);
	int	(*set_promisc)(pcap_t *, int);
	int	(*set_timeout)(pcap_t *, int);
	int	(*set_buffer_size)(pcap_t *, int);
	int	(*set_tstamp_precision)(pcap_t *, int);
	int	(*activate)(pcap_t *);
	int	(*compile)(pcap_t *, struct bpf_program *, const char *, int,
		    bpf_u_int32);
	int	(*setfilter)(pcap_t *, struct bpf_program *);
	void	(*freecode)(struct bpf_program *);
	int	(*setdirection)(pcap_t *, pcap_direction_t);
	int	(*dispatch)(pcap_t *, int, pcap_handler, u_char *);
	int	(*stats)(pcap_t *, struct pcap_stat *);
	char	*(*geterr)(pcap_t *);
	void	(*close)(pcap_t *);
	int	(*zc_set_mode)(pcap_t *, int);
	int	(*zc_set_block_size)(pcap_t *, u_int);
	int	(*zc_info)(pcap_t *, struct pcap_zc_info *);
	int	(*zc_next)(pcap_t *, struct pcap_zc_block *, int);
	int	(*zc_next_viewed)(pcap_t *, struct pcap_zc_block *, int,
		    pcap_zc_viewer, u_char *);
	int	(*zc_release)(pcap_t *, struct pcap_zc_block *);
};

static void
die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "zcdiff: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static void *
sym(void *so, const char *name, int required)
{
	void *p = dlsym(so, name);

	if (p == NULL && required)
		die("%s", dlerror());
	return (p);
}

static void
load(struct lib *l, const char *path, int zc)
{
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (so == NULL)
		die("%s", dlerror());
	l->name = path;
#define GET(m)	*(void **)&l->m = sym(so, "pcap_" #m, 1)
	GET(create); GET(set_snaplen); GET(set_promisc); GET(set_timeout);
	GET(set_buffer_size); GET(set_tstamp_precision); GET(activate);
	GET(compile); GET(setfilter); GET(freecode); GET(setdirection);
	GET(dispatch); GET(stats); GET(geterr); GET(close);
	if (zc) {
		GET(zc_set_mode); GET(zc_set_block_size); GET(zc_info);
		GET(zc_next); GET(zc_next_viewed); GET(zc_release);
	}
}

/* options */
static int snaplen = 262144, maxlen = 9014, vlan = 30, micro, in_only;
static int use_dispatch, hold = 1, mix, cooked, unlike;
static unsigned seed = 1, block_size;
static const char *filter;

static pcap_t *
open_live(struct lib *l, const char *dev, int zc)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	struct bpf_program prog;
	pcap_t *p = l->create(dev, errbuf);
	int status;

	if (p == NULL)
		die("%s: %s", dev, errbuf);
	l->set_snaplen(p, zc && unlike ? snaplen / 2 : snaplen);
	l->set_promisc(p, 1);
	l->set_timeout(p, 5);
	l->set_buffer_size(p, 128*1024*1024);
	if (!micro)
		l->set_tstamp_precision(p, PCAP_TSTAMP_PRECISION_NANO);
	if (zc) {
		if (l->zc_set_mode(p, PCAP_ZC_MODE_REQUIRED) != 0)
			die("set_mode: %s", l->geterr(p));
		if (block_size != 0)
			l->zc_set_block_size(p, block_size);
	}
	status = l->activate(p);
	if (status < 0)
		die("%s: activate %d: %s", dev, status, l->geterr(p));
	if (filter != NULL) {
		if (l->compile(p, &prog, filter, 1, PCAP_NETMASK_UNKNOWN) < 0 ||
		    l->setfilter(p, &prog) < 0)
			die("filter: %s", l->geterr(p));
		l->freecode(&prog);
	}
	if (in_only && l->setdirection(p, PCAP_D_IN) < 0)
		die("direction: %s", l->geterr(p));
	return (p);
}

/*
 * What one side has seen of a burst.
 */
struct seen {
	u_char	*bytes;
	size_t	used, size;
	struct pkt {
		uint64_t ts_ns;
		uint32_t caplen, len;
		size_t at;
	} *pkts;
	u_int	count, room;
	int	ended;		/* has the last frame been seen? */
};

/*
 * The last frame of a burst is known by its length, as the rest of it may
 * have been cut off: 77 bytes, or 79 with a cooked header.
 */
static int
is_end(uint32_t len)
{
	return (len == 77 || len == 79);
}

static void
add(struct seen *s, uint64_t ts_ns, uint32_t caplen, uint32_t len,
    const u_char *bytes)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->pkts = realloc(s->pkts, s->room * sizeof(*s->pkts));
	}
	while (s->used + caplen > s->size) {
		s->size = s->size ? 2 * s->size : 1 << 20;
		s->bytes = realloc(s->bytes, s->size);
	}
	memcpy(s->bytes + s->used, bytes, caplen);
	if (cooked && caplen >= 14) {
		/*
		 * The address has room for 8 bytes.  The kernel leaves what
		 * the ring had there in those that this device doesn't use.
		 */
		u_int halen = s->bytes[s->used + 4] << 8 | s->bytes[s->used + 5];

		if (halen < 8)
			memset(s->bytes + s->used + 6 + halen, 0, 8 - halen);
	}
	s->pkts[s->count].ts_ns = ts_ns;
	s->pkts[s->count].caplen = caplen;
	s->pkts[s->count].len = len;
	s->pkts[s->count].at = s->used;
	s->used += caplen;
	s->count++;
	if (is_end(len))
		s->ended++;
}

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	add((struct seen *)user, (uint64_t)h->ts.tv_sec * 1000000000 +
	    (uint64_t)h->ts.tv_usec * (micro ? 1000 : 1), h->caplen, h->len,
	    bytes);
}

static uint64_t blocks, spanned;

static void
add_block(struct seen *s, const struct pcap_zc_block *b)
{
	u_int i;

	for (i = 0; i < b->count; i++) {
		const struct pcap_zc_record *r = &b->index[i];

		if ((uint64_t)r->offset + r->caplen > b->length)
			die("record %u ends at %u, block at %u", i,
			    r->offset + r->caplen, b->length);
		if (r->flags != 0)
			die("flags");
		add(s, r->ts_ns, r->caplen, r->wirelen, b->base + r->offset);
	}
	blocks++;
	spanned += b->length;
}

static u_char frames[64][65536];

static int
make_frame(u_char *f, uint32_t seq, int last)
{
	int len = last ? 77 : 14 + rand() % (maxlen - 14 + 1);
	int l2 = 14;

	if (!last && rand() % 3 == 0 && maxlen > 100)
		len = 14 + rand() % 87;		/* small ones matter most */
	if (!last && len >= 60 && len <= 90)
		len = 91;
	memset(f, 0xff, 6);
	f[0] = 0x02; f[5] = 1;
	memcpy(f + 6, "\x02\0\0\0\0\x02", 6);
	if (!last && rand() % 100 < vlan) {
		if (len < 20)
			len = 20;	/* the kernel takes none without a type */
		f[12] = 0x81; f[13] = 0x00;
		f[14] = rand() % 16 << 4; f[15] = rand() % 256;
		l2 = 18;
	}
	if (rand() % 2 || last) {
		f[l2 - 2] = 0x08; f[l2 - 1] = 0x00;
	} else {
		f[l2 - 2] = 0x88; f[l2 - 1] = 0xb5;
	}
	for (int i = l2; i < len; i++)
		f[i] = (u_char)(seq + i * 7);
	if (f[l2 - 2] == 0x08 && len >= l2 + 28) {
		/* enough of an IPv4/UDP header for filters */
		memset(f + l2, 0, 28);
		f[l2] = 0x45;
		f[l2 + 2] = (len - l2) >> 8; f[l2 + 3] = (u_char)(len - l2);
		f[l2 + 8] = 64; f[l2 + 9] = last || rand() % 2 ? 17 : 6;
		memcpy(f + l2 + 12, "\x0a\0\0\x01\x0a\0\0\x02", 8);
		f[l2 + 20] = 4; f[l2 + 21] = 0;
		f[l2 + 22] = last ? 0 : rand() % 2; f[l2 + 23] = 53;
	}
	return (len);
}

static void
show(const char *whose, const u_char *bytes, uint32_t n)
{
	uint32_t i;

	fprintf(stderr, "%s:", whose);
	for (i = 0; i < n && i < 64; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "%s\n", n > 64 ? " ..." : "");
}

static void
send_burst(int fd, int ifindex, uint32_t *seq, int count)
{
	struct sockaddr_ll to;
	struct mmsghdr msgs[64];
	struct iovec iov[64];
	int i, n, done;

	memset(&to, 0, sizeof(to));
	to.sll_family = AF_PACKET;
	to.sll_ifindex = ifindex;
	to.sll_halen = 6;
	while (count > 0) {
		n = count < 64 ? count : 64;
		for (i = 0; i < n; i++) {
			iov[i].iov_base = frames[i];
			iov[i].iov_len = make_frame(frames[i], *seq,
			    count == n && i == n - 1);
			(*seq)++;
			memset(&msgs[i], 0, sizeof(msgs[i]));
			msgs[i].msg_hdr.msg_name = &to;
			msgs[i].msg_hdr.msg_namelen = sizeof(to);
			msgs[i].msg_hdr.msg_iov = &iov[i];
			msgs[i].msg_hdr.msg_iovlen = 1;
		}
		for (done = 0; done < n; ) {
			i = sendmmsg(fd, msgs + done, n - done, 0);
			if (i < 0 && errno == ENOBUFS)
				continue;
			if (i < 0)
				die("sendmmsg: %s (%zu bytes)",
				    strerror(errno), iov[done].iov_len);
			done += i;
		}
		count -= n;
	}
}

int
main(int argc, char **argv)
{
	struct lib stock, patched;
	struct seen a, b;
	struct pcap_stat st;
	struct pcap_zc_info info;
	struct pcap_zc_block held[1024];
	pcap_t *ps, *pz;
	uint64_t total, sent = 0, same = 0, bytes = 0;
	uint32_t seq = 0;
	uint64_t lent_at[1024];
	u_int nheld = 0, i, j;
	int fd, ifindex, status, n, expect;
	time_t deadline;

	if (argc < 6)
		die("usage: zcdiff STOCK PATCHED DEV SENDDEV PACKETS [option...]");
	for (n = 6; n < argc; n++) {
		char *v = strchr(argv[n], '=');
		if (v) v++;
		if (!strncmp(argv[n], "snaplen=", 8)) snaplen = atoi(v);
		else if (!strncmp(argv[n], "filter=", 7)) filter = v;
		else if (!strncmp(argv[n], "maxlen=", 7)) maxlen = atoi(v);
		else if (!strncmp(argv[n], "vlan=", 5)) vlan = atoi(v);
		else if (!strncmp(argv[n], "seed=", 5)) seed = atoi(v);
		else if (!strncmp(argv[n], "block=", 6)) block_size = atoi(v);
		else if (!strncmp(argv[n], "hold=", 5)) hold = atoi(v);
		else if (!strcmp(argv[n], "micro")) micro = 1;
		else if (!strcmp(argv[n], "in")) in_only = 1;
		else if (!strcmp(argv[n], "dispatch")) use_dispatch = 1;
		else if (!strcmp(argv[n], "mix")) mix = 1;
		else if (!strcmp(argv[n], "unlike")) { unlike = 1; snaplen = 100; }
		else die("what is %s?", argv[n]);
	}
	srand(seed);
	load(&stock, argv[1], 0);
	load(&patched, argv[2], 1);
	ifindex = if_nametoindex(argv[4]);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (ifindex == 0 || fd == -1)
		die("%s: %s", argv[4], strerror(errno));
	/*
	 * Make the kernel stamp each packet once, for both.  It begins
	 * with that a little later, in a work queue (net_enable_timestamp
	 * in net/core/dev.c): until then each ring stamps for itself.
	 */
	n = 1;
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &n, sizeof(n));
	ps = open_live(&stock, argv[3], 0);
	pz = open_live(&patched, argv[3], 1);
	usleep(200000);
	total = strtoull(argv[5], NULL, 0);
	/* "any" sees them on both devices */
	cooked = strcmp(argv[3], "any") == 0;
	expect = cooked && !in_only ? 2 : 1;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	while (sent < total) {
		n = total - sent < BURST ? (int)(total - sent) : BURST;
		a.count = b.count = 0;
		a.used = b.used = 0;
		a.ended = b.ended = 0;
		send_burst(fd, ifindex, &seq, n);
		sent += n;
		deadline = time(NULL) + 10;
		while (a.ended < expect && time(NULL) < deadline) {
			status = stock.dispatch(ps, -1, callback, (u_char *)&a);
			if (status < 0)
				die("stock dispatch: %d %s", status,
				    stock.geterr(ps));
		}
		while (b.ended < expect && time(NULL) < deadline) {
			if (use_dispatch || (mix && rand() % 3 == 0)) {
				status = patched.dispatch(pz,
				    mix ? 1 + rand() % 300 : -1, callback,
				    (u_char *)&b);
				if (status < 0)
					die("patched dispatch: %d %s", status,
					    patched.geterr(pz));
				continue;
			}
			if ((int)nheld >= hold) {
				/*
				 * Give one of them back: any, but the ring
				 * goes on at the oldest one in the end.
				 */
				i = rand() % nheld;
				for (j = 0; j < nheld; j++)
					if (blocks - lent_at[j] > 1000)
						i = j;
				if (patched.zc_release(pz, &held[i]) != 0)
					die("release: %s", patched.geterr(pz));
				held[i] = held[--nheld];
				lent_at[i] = lent_at[nheld];
			}
			if (rand() % 2)
				status = patched.zc_next(pz, &held[nheld],
				    1000);
			else {
				struct viewed seen = { .count = 0 };
				const char *wrong;

				status = patched.zc_next_viewed(pz,
				    &held[nheld], 1000, view, (u_char *)&seen);
				wrong = view_ends(&seen, status, &held[nheld]);
				if (wrong != NULL)
					die("shown: %s", wrong);
			}
			if (status < 0)
				die("next: %d %s", status, patched.geterr(pz));
			if (status == 0)
				continue;
			add_block(&b, &held[nheld]);
			lent_at[nheld++] = blocks;
		}
		if (a.count != b.count || a.ended != b.ended ||
		    a.ended < expect) {
			stock.stats(ps, &st);
			fprintf(stderr, "stock recv %u drop %u\n", st.ps_recv, st.ps_drop);
			patched.stats(pz, &st);
			fprintf(stderr, "patched recv %u drop %u\n", st.ps_recv, st.ps_drop);
			die("after %llu: stock %u packets (end %d), patched %u (end %d)",
			    (unsigned long long)sent, a.count, a.ended, b.count,
			    b.ended);
		}
		for (i = 0; i < a.count; i++) {
			struct pkt *x = &a.pkts[i], *y = &b.pkts[i];

			if (x->ts_ns != y->ts_ns || x->caplen != y->caplen ||
			    x->len != y->len ||
			    memcmp(a.bytes + x->at, b.bytes + y->at,
			      x->caplen) != 0) {
				show("stock", a.bytes + x->at, x->caplen);
				show("patched", b.bytes + y->at, y->caplen);
				die("packet %llu differs: ts %llu/%llu caplen %u/%u len %u/%u bytes %s",
				    (unsigned long long)same + i,
				    (unsigned long long)x->ts_ns,
				    (unsigned long long)y->ts_ns,
				    x->caplen, y->caplen, x->len, y->len,
				    x->caplen == y->caplen && memcmp(
				      a.bytes + x->at, b.bytes + y->at,
				      x->caplen) ? "differ" : "same");
			}
			bytes += x->caplen;
		}
		same += a.count;
	}
	info.size = sizeof(info);
	patched.zc_info(pz, &info);
	while (nheld > 0)
		patched.zc_release(pz, &held[--nheld]);
	patched.close(pz);
	stock.close(ps);
	printf("%llu sent, %llu captured and the same, %llu bytes, %llu blocks (%u of %u bytes, %u held at the end, mechanism %u, TPACKET %d)\n",
	    (unsigned long long)sent, (unsigned long long)same,
	    (unsigned long long)bytes, (unsigned long long)blocks,
	    info.block_count, info.block_size, info.held, info.mechanism,
	    info.kernel_version);
	free(a.bytes); free(a.pkts); free(b.bytes); free(b.pkts);
	return (same == 0);
}
