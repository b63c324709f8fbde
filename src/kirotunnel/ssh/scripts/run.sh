# What `kirotunnel run` adds to the control script: the processes of the command, and who of them listens.
# $D/pid is the command's first process; it is the leader of its session, since the server made one for it.

lease_age=0
seen=

# The first process, its descendants, and all of its session; a daemon that left both is not the command any more.
own_processes() {
	root=
	[ -s "$D/pid" ] && read -r root <"$D/pid"
	[ -n "$root" ] || return 0
	if [ -r /proc/self/stat ]; then
		# `PID (NAME) STATE PPID PGRP SESSION …`, where NAME may hold anything.
		cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) .*) [A-Za-z] \([0-9]*\) [0-9-]* \([0-9-]*\) .*/\1 \2 \3/p'
	else
		ps -A -o pid= -o ppid= -o sess= 2>/dev/null
	fi | awk -v root="$root" -v mark="$N" '
		{ parent[$1] = $2; session[$1] = $3 }
		END {
			for (p in parent) {
				q = p
				for (i = 0; i < 64 && q != root && q in parent; i++) q = parent[q]
				if (q == root || session[p] == root) list = list " " p
			}
			print "\n" mark " own" list
		}'
}

# As `listeners`, with the command's processes; only `unchanged` where the kernel's tables are as they were. CHANGED is
# empty to be told in any case. Each call says that somebody still cares.
look() {
	lease_age=$((lease_age + 1))
	if [ "$lease_age" -ge 300 ]; then
		lease_age=0
		kill "$lease_pid" 2>/dev/null
		start_lease
	fi
	now=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { print $2, $10 }' 2>/dev/null)
	[ -n "$now" ] && [ "$now" = "$seen" ] && say unchanged && return
	seen=$now
	listeners
	own_processes
}

# send SIGNAL: to the command and all that belongs to its process group.
send() {
	p=
	[ -s "$D/pid" ] && read -r p <"$D/pid"
	[ -n "$p" ] || return 0
	kill "-$1" "-$p" 2>/dev/null || kill "-$1" "$p" 2>/dev/null
}
