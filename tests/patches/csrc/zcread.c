/*
 * zcread: print what a savefile holds, as blocks lent, or with "callback"
 * as packets from pcap_dispatch(), which a stock libpcap can do too.
 *
 *	zcread FILE|- callback|lent [shrink=BYTES|leak]
 *
 * A line a packet: time stamp in nanoseconds, captured length, length, bytes.
 * The last line says how it ended.  With "shrink" the file is cut to that
 * many bytes once the first packets are there; with "leak" nothing is closed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcap/pcap.h>
#if __has_include(<pcap/zc.h>)
#include <pcap/zc.h>
#endif

static const char *path;
static long shrink = -1;

static void
shrink_now(void)
{
	if (shrink != -1 && truncate(path, shrink) != 0) {
		perror(path);
		exit(2);
	}
	shrink = -1;
}

static void
show(uint64_t ts_ns, uint32_t caplen, uint32_t len, const u_char *bytes)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t i;

	printf("%llu %u %u ", (unsigned long long)ts_ns, caplen, len);
	for (i = 0; i < caplen; i++) {
		putchar(digits[bytes[i] >> 4]);
		putchar(digits[bytes[i] & 15]);
	}
	putchar('\n');
}

static void
callback(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	(void)user;
	show((uint64_t)h->ts.tv_sec * 1000000000 + (uint64_t)h->ts.tv_usec,
	    h->caplen, h->len, bytes);
	shrink_now();
}

static int
dispatch(pcap_t *p)
{
	int status;

	while ((status = pcap_dispatch(p, -1, callback, NULL)) > 0)
		;
	return (status);
}

#ifdef PCAP_ZC_ABI
static int
lend(pcap_t *p)
{
	struct pcap_zc_block b;
	int status;
	u_int i;

	while ((status = pcap_zc_next(p, &b, -1)) == 1) {
		for (i = 0; i < b.count; i++)
			show(b.index[i].ts_ns, b.index[i].caplen,
			    b.index[i].wirelen, b.base + b.index[i].offset);
		shrink_now();
		if (pcap_zc_release(p, &b) != 0)
			return (-1);
	}
	return (status == PCAP_ERROR_ZC_EOF ? 0 : status);
}
#else
#define lend	dispatch
#endif

int
main(int argc, char **argv)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *p;
	int status;

	if (argc < 3)
		return (2);
	path = argv[1];
	if (argc > 3 && strncmp(argv[3], "shrink=", 7) == 0)
		shrink = atol(argv[3] + 7);
	p = pcap_open_offline_with_tstamp_precision(path,
	    PCAP_TSTAMP_PRECISION_NANO, errbuf);
	if (p == NULL) {
		printf("not opened: %s\n", errbuf);
		return (0);
	}
	status = strcmp(argv[2], "lent") == 0 ? lend(p) : dispatch(p);
	if (status == 0)
		printf("end\n");
	else
		printf("error %d: %s\n", status, pcap_geterr(p));
	if (argc < 4 || strcmp(argv[3], "leak") != 0)
		pcap_close(p);
	return (0);
}
