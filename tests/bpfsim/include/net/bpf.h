/*
 * What FreeBSD's <net/bpf.h> has and libpcap's <pcap/bpf.h> lacks: the ioctls
 * of /dev/bpf, with the numbers that they have on amd64, and their structures.
 *
 * The instructions, the filter program and the DLT_ values are taken from
 * libpcap's header, which has the same ones.
 */
#ifndef _NET_BPF_H_
#include <pcap/bpf.h>
#define _NET_BPF_H_

#include <sys/types.h>
#include <sys/time.h>
#include <stdint.h>

#include <sys/ioccom.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t		bpf_int32;
typedef uint64_t	bpf_u_int64;
typedef int64_t		bpf_int64;

/* libpcap's header aligns to 4 bytes, as the oldest BSDs did. */
#undef BPF_ALIGNMENT
#undef BPF_WORDALIGN
#define BPF_ALIGNMENT	sizeof(long)
#define BPF_WORDALIGN(x) (((x) + (BPF_ALIGNMENT - 1)) & ~(BPF_ALIGNMENT - 1))

#define BPF_MAJOR_VERSION 1
#define BPF_MINOR_VERSION 1

#define BPF_MAXINSNS	512
#define BPF_MAXBUFSIZE	0x80000
#define BPF_MINBUFSIZE	32

struct bpf_stat {
	u_int	bs_recv;	/* packets seen */
	u_int	bs_drop;	/* packets that found no room */
};

struct bpf_version {
	u_short	bv_major;
	u_short	bv_minor;
};

struct bpf_dltlist {
	u_int	bfl_len;	/* how many there is room for */
	u_int	*bfl_list;
};

/* Two buffers of the same size, set once. */
struct bpf_zbuf {
	void	*bz_bufa;
	void	*bz_bufb;
	size_t	bz_buflen;	/* of each, this header included */
};

/* The first 32 bytes of each of them. */
struct bpf_zbuf_header {
	volatile u_int	bzh_kernel_gen;
	volatile u_int	bzh_kernel_len;
	volatile u_int	bzh_user_gen;
	u_int		_bzh_pad[5];
};

struct bpf_ts {
	bpf_int64	bt_sec;
	bpf_u_int64	bt_frac;
};

struct bpf_xhdr {
	struct bpf_ts	bh_tstamp;
	uint32_t	bh_caplen;
	uint32_t	bh_datalen;
	u_short		bh_hdrlen;	/* this one and the padding behind it */
};

struct bpf_hdr {
	struct timeval	bh_tstamp;
	uint32_t	bh_caplen;
	uint32_t	bh_datalen;
	u_short		bh_hdrlen;
};

#define BIOCGBLEN	BSD_IOR('B', 102, 4)
#define BIOCSBLEN	BSD_IOWR('B', 102, 4)
#define BIOCSETF	BSD_IOW('B', 103, 16)
#define BIOCFLUSH	BSD_IO('B', 104)
#define BIOCPROMISC	BSD_IO('B', 105)
#define BIOCGDLT	BSD_IOR('B', 106, 4)
#define BIOCGETIF	BSD_IOR('B', 107, 32)
#define BIOCSETIF	BSD_IOW('B', 108, 32)
#define BIOCSRTIMEOUT	BSD_IOW('B', 109, 16)
#define BIOCGRTIMEOUT	BSD_IOR('B', 110, 16)
#define BIOCGSTATS	BSD_IOR('B', 111, 8)
#define BIOCIMMEDIATE	BSD_IOW('B', 112, 4)
#define BIOCVERSION	BSD_IOR('B', 113, 4)
#define BIOCGRSIG	BSD_IOR('B', 114, 4)
#define BIOCSRSIG	BSD_IOW('B', 115, 4)
#define BIOCGHDRCMPLT	BSD_IOR('B', 116, 4)
#define BIOCSHDRCMPLT	BSD_IOW('B', 117, 4)
#define BIOCGDIRECTION	BSD_IOR('B', 118, 4)
#define BIOCSDIRECTION	BSD_IOW('B', 119, 4)
#define BIOCSDLT	BSD_IOW('B', 120, 4)
#define BIOCGDLTLIST	BSD_IOWR('B', 121, 16)
#define BIOCLOCK	BSD_IO('B', 122)
#define BIOCSETWF	BSD_IOW('B', 123, 16)
#define BIOCFEEDBACK	BSD_IOW('B', 124, 4)
#define BIOCGETBUFMODE	BSD_IOR('B', 125, 4)
#define BIOCSETBUFMODE	BSD_IOW('B', 126, 4)
#define BIOCGETZMAX	BSD_IOR('B', 127, 8)	/* a size_t */
#define BIOCROTZBUF	BSD_IOR('B', 128, 24)
#define BIOCSETZBUF	BSD_IOW('B', 129, 24)
#define BIOCSETFNR	BSD_IOW('B', 130, 16)
#define BIOCGTSTAMP	BSD_IOR('B', 131, 4)
#define BIOCSTSTAMP	BSD_IOW('B', 132, 4)

/* Older names for the same. */
#define BIOCGSEESENT	BIOCGDIRECTION
#define BIOCSSEESENT	BIOCSDIRECTION

#define BPF_BUFMODE_BUFFER	1	/* kernel buffers and read() */
#define BPF_BUFMODE_ZBUF	2	/* shared buffers */

enum bpf_direction {
	BPF_D_IN,
	BPF_D_INOUT,
	BPF_D_OUT
};

#define BPF_T_MICROTIME		0x0000
#define BPF_T_NANOTIME		0x0001
#define BPF_T_BINTIME		0x0002
#define BPF_T_NONE		0x0003
#define BPF_T_FORMAT_MASK	0x0003
#define BPF_T_NORMAL		0x0000
#define BPF_T_FAST		0x0100
#define BPF_T_MONOTONIC		0x0200
#define BPF_T_MONOTONIC_FAST	(BPF_T_FAST | BPF_T_MONOTONIC)
#define BPF_T_FLAG_MASK		0x0300
#define BPF_T_FORMAT(t)		((t) & BPF_T_FORMAT_MASK)
#define BPF_T_FLAG(t)		((t) & BPF_T_FLAG_MASK)
#define BPF_T_VALID(t)							\
	((t) == BPF_T_NONE || (BPF_T_FORMAT(t) != BPF_T_NONE &&		\
	((t) & ~(BPF_T_FORMAT_MASK | BPF_T_FLAG_MASK)) == 0))

#ifdef __cplusplus
}
#endif

#endif /* _NET_BPF_H_ */
