/*
 * What sysctl net.bpf.stats gives for each attached descriptor, laid out as
 * in FreeBSD's <net/bpfdesc.h>.
 */
#ifndef _NET_BPFDESC_H_
#define _NET_BPFDESC_H_

#include <sys/types.h>
#include <net/if.h>
#include <stdint.h>

struct xbpf_d {
	u_int		bd_structsize;
	u_char		bd_promisc;
	u_char		bd_immediate;
	u_char		__bd_pad[6];
	int		bd_hdrcmplt;
	int		bd_direction;
	int		bd_feedback;
	int		bd_async;
	uint64_t	bd_rcount;	/* packets seen */
	uint64_t	bd_dcount;	/* packets that found no room */
	uint64_t	bd_fcount;	/* packets that the filter let through */
	int		bd_sig;
	int		bd_slen;
	int		bd_hlen;
	int		bd_bufsize;
	pid_t		bd_pid;
	char		bd_ifname[IFNAMSIZ];
	int		bd_locked;
	uint64_t	bd_wcount;
	uint64_t	bd_wfcount;
	uint64_t	bd_wdcount;
	uint64_t	bd_zcopy;	/* appends to shared buffers */
	int		bd_bufmode;
	uint64_t	bd_spare[4];
};

#endif /* _NET_BPFDESC_H_ */
