"""Own network namespaces and bounded traffic, for the demo, the tests and the benchmarks.

Nothing here leaves the machine: frames are sent only inside a network namespace that this
package made, and datagrams only to 127.0.0.1.  Standard library only, and nothing of pypcapzc,
so that what is sent and what a savefile holds can serve as the truth against which it is tested.

``netns``      a private namespace with a veth pair
``frames``     what the frame with a given sequence number looks like
``traffic``    sends such frames, fast, and says exactly how many the kernel accepted
``savefiles``  writes pcap and pcapng files
"""
