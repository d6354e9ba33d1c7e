#!/bin/sh
# engine.sh start FOLDER | stop FOLDER
#
# A container engine for the tests: a dockerd of its own, on a socket in FOLDER, that shares nothing with the
# system's, and a base image that debootstrap makes (Debian: apt-get install docker.io debootstrap; root).
# FOLDER is 69 characters long at most.  FOLDER/base.tar is kept: given again, the base need not be made
# again.  The tests find it by
#
#   export PYPCAPZC_TEST_ENGINE=FOLDER
set -eu

command=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
DOCKER_HOST=unix://$folder/docker.sock
export DOCKER_HOST

stop() {
	[ -f "$folder/docker.pid" ] || return 0
	pid=$(cat "$folder/docker.pid")
	kill "$pid" 2>/dev/null || return 0
	while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
}

# Where this system's own packages come from.
mirror() {
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		sed -n 's/^bookworm main //p' | head -n 1
}

start() {
	# containerd waits in vain for a socket whose path is longer than unix(7) allows, 107 characters.
	socket=$folder/exec/containerd/containerd.sock.ttrpc
	[ "${#socket}" -le 107 ] || {
		echo "engine.sh: $folder is too long a name for a folder of sockets" >&2
		exit 1
	}
	[ -f "$folder/base.tar" ] || {
		rm -rf "$folder/root"
		# Nothing but what is essential, and none of what only people read.
		debootstrap --variant=minbase --exclude=tzdata bookworm "$folder/root" \
			"$(mirror)" >"$folder/debootstrap.log" 2>&1 || {
			tail -n 20 "$folder/debootstrap.log" >&2
			exit 1
		}
		tar -C "$folder/root" --exclude=./var/cache --exclude=./var/lib/apt --exclude=./usr/share/doc \
			--exclude=./usr/share/locale --exclude=./usr/share/man --exclude=./dev -cf "$folder/base.tar.new" .
		mv "$folder/base.tar.new" "$folder/base.tar"
		rm -rf "$folder/root"
	}
	# Its containers have no network at all, so it needs neither a bridge nor iptables.
	dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/docker.pid" \
		--host "$DOCKER_HOST" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
		--ip-masq=false >"$folder/dockerd.log" 2>&1 &
	tries=0
	until docker version >/dev/null 2>&1; do
		tries=$((tries + 1))
		{ [ "$tries" -lt 500 ] && kill -0 $! 2>/dev/null; } || {
			tail -n 20 "$folder/dockerd.log" >&2
			exit 1
		}
		sleep 0.2
	done
	docker import "$folder/base.tar" pypcapzc-test-base:1 >/dev/null
}

"$command"
