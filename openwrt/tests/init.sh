#!/bin/sh
# Tests of the init script, and of LuCI's way to it, without a router: OpenWrt's functions are stubs that record how they are called, mounts and
# cron's file lie in a scratch folder. Runs under busybox ash, which is what routers have: openwrt/tests/run
# shellcheck shell=dash disable=SC2034,SC2317 # what is set and defined here is used by the init script

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
calls=$scratch/calls
failed=0

# ── stubs ──

# A file of lines: "main.option=value", and "main.option+=value" for each value of a list.
config_load() { [ "$1" = apt-p2p ]; }
value_of() { sed -n "s|^$1\.$2+*=||p" "$scratch/uci"; }
config_get() {
	local found
	case "$3" in
	*_LENGTH)
		found=$(grep -c "^$2\.${3%_LENGTH}+=" "$scratch/uci")
		[ "$found" != 0 ] || found=
		;;
	*)
		found=$(value_of "$2" "$3" | tr '\n' ' ')
		found=${found% }
		;;
	esac
	eval "$1=\${found:-\$4}"
}
config_get_bool() { config_get "$@"; }
# As OpenWrt's, it does nothing with an option that is no list.
config_list_foreach() {
	local section="$1" option="$2" function="$3" each count
	shift 3
	config_get count "$section" "${option}_LENGTH"
	[ -n "$count" ] || return 0
	value_of "$section" "$option" >"$scratch/list"
	while read -r each; do "$function" "$each" "$@"; done <"$scratch/list"
}
record() { echo "$*" >>"$calls"; }
for stub in procd_open_instance procd_close_instance procd_set_param procd_add_jail procd_add_jail_mount \
	procd_add_jail_mount_rw procd_set_config_changed procd_add_reload_trigger \
	procd_add_reload_interface_trigger procd_add_restart_mount_trigger procd_kill start-stop-daemon; do
	# Names with a dash are none for a function: those are programs below.
	case $stub in
	*-*)
		printf '#!/bin/sh\necho "%s $*" >>"%s"\n' "$stub" "$calls" >"$scratch/$stub"
		chmod +x "$scratch/$stub"
		;;
	*) eval "$stub() { record $stub \"\$@\"; }" ;;
	esac
done
procd_append_param() {
	shift
	record "flag $*"
}
# What the instance tells others, one "path=value" a line. As with OpenWrt's jshn, of two tables of one name the first is lost.
json_add_object() {
	[ -z "$1" ] || sed -i "\\|^$at/$1/|d" "$scratch/json"
	at=$at/$1
}
json_add_array() { json_add_object "$1"; }
json_add_string() { echo "$at/$1=$2" >>"$scratch/json"; }
json_add_int() { json_add_string "$@"; }
json_close_object() { at=${at%/*}; }
json_close_array() { json_close_object; }
procd_open_data() { json_add_object data; }
procd_close_data() { json_close_object; }
procd_add_mdns_service() {
	local text
	json_add_object "$1_$3"
	json_add_string service "_$1._$2.local"
	json_add_int port "$3"
	shift 3
	json_add_array txt
	for text in "$@"; do json_add_string '' "$text"; done
	json_close_array
	json_close_object
}
procd_add_mdns() {
	procd_open_data
	json_add_object mdns
	procd_add_mdns_service "$@"
	json_close_object
	procd_close_data
}
logger() { record "logger $*"; }
chown() { [ -z "$no_owners" ] && record "chown $*"; }
start() { record start; }
reload() { record reload; }
ubus() { [ "$*" != 'call service list {"name":"apt-p2p"}' ] || cat "$scratch/running"; }
jsonfilter() { [ "$*" != "-l 1 -e @['apt-p2p'].instances[*].command[2]" ] || cat; }
PATH=$scratch:$PATH

# shellcheck source=/dev/null
. "$here/../apt-p2p/files/apt-p2p.init"

CRON=$scratch/cron
printf '#!/bin/sh\necho "cron $*" >>"%s"\n' "$calls" >"$CRON"
chmod +x "$CRON"
MOUNTS=$scratch/mounts
CRONTAB=$scratch/crontabs/root
MEMORY_CACHE=$scratch/memory

# ── words of the tests ──

# A router as it comes, with these options.
router() {
	no_owners=
	rm -rf "$scratch/crontabs" "$scratch/memory" "$scratch/disk"
	: >"$calls"
	: >"$scratch/json"
	: >"$scratch/running"
	at=
	cat >"$MOUNTS" <<-MOUNTED
		/dev/root /rom squashfs ro 0 0
		overlayfs:/overlay / overlay rw 0 0
		/dev/mtdblock6 /overlay jffs2 rw 0 0
		tmpfs /tmp tmpfs rw 0 0
	MOUNTED
	printf '%s\n' "$@" >"$scratch/uci"
}
mounted() { echo "/dev/sda1 $1 ext4 rw 0 0" >>"$MOUNTS"; }
has() { grep -qxF -e "$1" "$calls" || fail "not called: $1"; }
has_not() { ! grep -qF -e "$1" "$calls" || fail "called: $1"; }
tells() { grep -qxF -e "/data/$1" "$scratch/json" || fail "not told: $1 of $(cat "$scratch/json")"; }
tells_not() { ! grep -qF -e "/$1" "$scratch/json" || fail "told: $1"; }
is() { [ "$1" = "$2" ] || fail "'$1' is not '$2'"; }
fail() {
	echo "FAILED $test: $1"
	sed 's/^/    /' "$calls"
	failed=1
}

# ── tests ──

as_it_comes_it_serves_the_lan_from_memory() {
	router
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/memory --share lan"
	has "flag --config /dev/null"
	tells mdns/apt_proxy_9977/service=_apt_proxy._tcp.local
	tells mdns/apt_proxy_9977/port=9977
	tells mdns/apt-p2p_9978/service=_apt-p2p._tcp.local
	tells mdns/apt-p2p_9978/port=9978
	# Others take it for a neighbour by that alone: src/lan/discovery.rs.
	tells mdns/apt-p2p_9978/txt/=net=apt-p2p
	has "procd_set_param user apt-p2p"
	has "procd_set_param no_new_privs 1"
	has "procd_add_jail_mount_rw $scratch/memory"
	tells_not firewall
	has_not logger
	is "$(cat "$CRONTAB")" "0 4 * * * /etc/init.d/apt-p2p cleanup # apt-p2p"
}

a_mounted_disk_is_used() {
	router "main.cache=$scratch/disk/apt-p2p" main.max_size=20G
	mkdir "$scratch/disk"
	mounted "$scratch/disk"
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/disk/apt-p2p --share lan"
	has "flag --max-size 20G"
	[ -d "$scratch/disk/apt-p2p" ] || fail "the folder is not made"
	[ ! -e "$scratch/memory" ] || fail "memory is used too"
}

memory_that_serves_no_more_is_given_back() {
	router
	start_service
	service_started
	[ -d "$MEMORY_CACHE" ] || fail "memory is taken away while it serves"
	echo "main.cache=$scratch/disk/apt-p2p" >>"$scratch/uci"
	mkdir "$scratch/disk"
	mounted "$scratch/disk"
	start_service
	# As the proxy does, till it has ended.
	exec 9<"$MEMORY_CACHE"
	flock -n 9
	sleep() {
		record "sleep $*"
		exec 9<&-
	}
	service_started
	has "sleep 1"
	[ ! -e "$MEMORY_CACHE" ] || fail "memory is kept beside the disk"

	for ended in stopped switched_off; do
		router
		start_service
		[ -d "$MEMORY_CACHE" ] || fail "there is no cache"
		case $ended in
		stopped) service_stopped ;;
		*)
			echo main.enabled=0 >>"$scratch/uci"
			start_service
			service_started
			;;
		esac
		[ ! -e "$MEMORY_CACHE" ] || fail "memory is kept: $ended"
	done

	router
	start_service
	exec 9<"$MEMORY_CACHE"
	flock -n 9
	sleep() { :; }
	service_stopped
	[ -e "$MEMORY_CACHE" ] || fail "memory is taken from a proxy that runs"
	exec 9<&-
	unset -f sleep
}

a_folder_with_other_things_is_left_alone() {
	router "main.cache=$scratch/disk/other"
	mkdir -p "$scratch/disk/other"
	mkdir "$scratch/disk/other/files"
	: >"$scratch/disk/other/passwd"
	mounted "$scratch/disk"
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/memory --share lan"
	has "logger -t apt-p2p -p daemon.warn $scratch/disk/other holds other things, and a cache has a folder of its own: memory is used instead"
	has_not "chown apt-p2p:apt-p2p $scratch/disk/other"
	# What src/store makes.
	mkdir "$scratch/disk/other/meta" "$scratch/disk/other/drafts"
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/disk/other --share lan"
}

a_time_that_cron_would_run_is_refused() {
	for time in '* * * * * reboot #' '0 4 * *' '* * * * * *' "$(printf '0 4 * * *\n* * * * *')" '@daily'; do
		router "main.cleanup=$time"
		start_service
		is "$(cat "$CRONTAB")" "0 4 * * * /etc/init.d/apt-p2p cleanup # apt-p2p"
	done
	has "logger -t apt-p2p -p daemon.warn cleanup '@daily' is no time as cron writes it: it runs at four"
}

the_flash_is_never_filled_while_the_disk_is_away() {
	router "main.cache=/mnt/sda1/apt-p2p" main.max_size=20G
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/memory --share lan"
	has_not --max-size
	has "logger -t apt-p2p -p daemon.warn no disk is mounted at /mnt/sda1/apt-p2p: memory is used until there is one"
	[ ! -e /mnt/sda1/apt-p2p ] || fail "the mount point is written to"
	for mount in /mnt/sda1 /mnt; do
		router "main.cache=/mnt/sda1/apt-p2p"
		mounted "$mount"
		is "$(mount_of /mnt/sda1/apt-p2p)" "$mount"
	done
	router
	mounted /mnt/sda
	is "$(mount_of /mnt/sda1/apt-p2p)" /
}

a_root_on_a_disk_is_used_when_the_owner_says_so() {
	router "main.cache=$scratch/root/apt-p2p" main.cache_on_root=1
	start_service
	has "procd_set_param command /usr/bin/apt-p2p --cache $scratch/root/apt-p2p --share lan"
}

a_folder_that_is_no_path_is_not_used() {
	router main.cache=sda1
	start_service
	has "logger -t apt-p2p -p daemon.warn the cache 'sda1' is no full path: memory is used instead"
}

a_disk_without_owners_is_written_to_by_root() {
	router "main.cache=$scratch/disk/apt-p2p"
	mkdir "$scratch/disk"
	mounted "$scratch/disk"
	no_owners=1
	start_service
	has "procd_set_param user root"
}

every_option_becomes_its_flag() {
	router main.listen+=192.168.1.1:3142 'main.listen+=[fd00::1]:3142' main.allow+=192.168.1.0/24 \
		main.upstream+=a.example.org/debian=https://m.example.org/debian main.allow_upstream+=mirror.lan \
		main.upstream_proxy=http://proxy.lan:3128 main.allow_connect+=*.example.org main.allow_connect+=m.example.org \
		main.public+=m.example.org/debian main.neighbour+=192.168.1.7:9978 'main.peer_listen=[::]:7000' \
		main.upload_rate=1M main.prefer=offload main.prefetch=night main.network=example main.secret=/etc/apt-p2p.secret main.log=info \
		main.share=internet main.mainline=off main.bootstrap+=node.example.org:9978 main.bootstrap+=192.168.1.10:9978 \
		main.workers=3
	start_service
	for flag in '--listen 192.168.1.1:3142' '--listen [fd00::1]:3142' '--allow 192.168.1.0/24' \
		'--upstream a.example.org/debian=https://m.example.org/debian' '--allow-upstream mirror.lan' \
		'--upstream-proxy http://proxy.lan:3128' '--allow-connect *.example.org' '--allow-connect m.example.org' \
		'--public m.example.org/debian' '--neighbour 192.168.1.7:9978' '--peer-listen [::]:7000' '--upload-rate 1M' \
		'--prefer offload' '--prefetch night' '--network example' '--secret /etc/apt-p2p.secret' \
		'--mainline off' '--bootstrap node.example.org:9978' '--bootstrap 192.168.1.10:9978' '--workers 3'; do
		has "flag $flag"
	done
	has "procd_set_param env RUST_LOG=info"
	tells mdns/apt_proxy_3142/port=3142
	tells mdns/apt-p2p_7000/port=7000
	tells mdns/apt-p2p_7000/txt/=net=example
	has "procd_add_jail_mount /etc/apt-p2p.secret"
	tells_not firewall
}

an_option_in_a_list_s_place_is_a_list_of_its_words() {
	router main.allow_connect=none 'main.allow=192.168.1.0/24 fd00::/8' 'main.public=*/debian' main.upstream=
	start_service
	for flag in '--allow-connect none' '--allow 192.168.1.0/24' '--allow fd00::/8' '--public */debian'; do
		has "flag $flag"
	done
	has_not --upstream
}

the_peer_port_opens_only_for_the_internet_and_when_asked() {
	router main.open_port=1
	start_service
	tells_not firewall
	router main.open_port=1 main.share=internet
	start_service
	tells firewall//dest_port=9978
	tells firewall//src=wan
	tells mdns/apt_proxy_9977/port=9977
	tells mdns/apt-p2p_9978/port=9978
	router main.share=off main.open_port=1
	start_service
	tells_not firewall
	tells mdns/apt_proxy_9977/port=9977
	tells_not mdns/apt-p2p
}

cron_has_one_line_and_others_stay() {
	router main.cleanup='30 5 * * 1'
	mkdir -p "${CRONTAB%/*}"
	printf '%s\n' '1 2 * * * /bin/true' '0 4 * * * /etc/init.d/apt-p2p cleanup # apt-p2p' >"$CRONTAB"
	start_service
	is "$(cat "$CRONTAB")" "1 2 * * * /bin/true
30 5 * * 1 /etc/init.d/apt-p2p cleanup # apt-p2p"
	has "cron restart"
	: >"$calls"
	start_service
	has_not "cron restart"
	restart
	has "procd_kill apt-p2p"
	has start
	has_not "cron restart"
	stop_service
	is "$(cat "$CRONTAB")" '1 2 * * * /bin/true'
	: >"$calls"
	stop_service
	has_not "cron restart"
}

a_crontab_s_other_lines_are_none_of_ours() {
	local own='# apt-p2p is cleaned by hand

5 5 * * 0 /etc/init.d/apt-p2p cleanup # apt-p2p on Sundays, and \n is none'
	router
	mkdir -p "${CRONTAB%/*}"
	printf '%s\n' "$own" >"$CRONTAB"
	start_service
	is "$(cat "$CRONTAB")" "$own
0 4 * * * /etc/init.d/apt-p2p cleanup # apt-p2p"
	cron_off
	is "$(cat "$CRONTAB")" "$own"
	: >"$calls"
	cron_off
	has_not "cron restart"
}

switched_off_it_leaves_nothing_behind() {
	router
	start_service
	echo main.enabled=0 >>"$scratch/uci"
	: >"$calls"
	start_service
	has_not procd_open_instance
	is "$(cat "$CRONTAB")" ''
	cleanup
	has_not start-stop-daemon
}

numbers_come_from_where_the_proxy_runs_and_leave_no_line_in_the_log() {
	# It runs on what memory there was, or could be used, when it started.
	router main.cache=/mnt/sda1/apt-p2p
	mounted /mnt/sda1
	echo "$scratch/memory" >"$scratch/running"
	is "$(PROG='echo'; numbers)" "status --config /dev/null --cache $scratch/memory --json"
	: >"$scratch/running"
	numbers && fail "nothing runs"
	has_not logger
}

luci_s_plugin_says_its_method_and_answers_it_alone() {
	router
	printf '#!/bin/sh\necho "init $*" >>"%s"\ncat "%s"\n' "$calls" "$scratch/answer" >"$scratch/init"
	chmod +x "$scratch/init"
	sed "s|/etc/init.d/apt-p2p|$scratch/init|" "$here/../luci-app-apt-p2p/root/usr/libexec/rpcd/luci.apt-p2p" >"$scratch/plugin"
	is "$(plugin list)" '{ "status": {} }'
	plugin call cleanup && fail "it answers what it does not list"
	plugin call && fail "it answers no method"
	has_not init
	printf '%s\n' '{"problems":["a \n \"b\""]}' >"$scratch/answer"
	is "$(echo '{"ubus_rpc_session":"0"}' | plugin call status)" '{"problems":["a \n \"b\""]}'
	has "init numbers"
	rm "$scratch/answer"
	is "$(plugin call status)" '{}'
}
plugin() { busybox ash "$scratch/plugin" "$@"; }

cleanup_runs_as_the_cache_s_owner_with_its_size() {
	router "main.cache=$scratch/disk/apt-p2p" main.max_size=20G
	mkdir "$scratch/disk"
	mounted "$scratch/disk"
	cleanup
	has "start-stop-daemon -S -q -c apt-p2p -p /var/run/apt-p2p-cleanup.pid -x /usr/bin/apt-p2p -- cleanup --config /dev/null --cache $scratch/disk/apt-p2p --max-size 20G"
}

a_disk_that_came_or_went_unsaid_is_noticed_by_cleanup() {
	router "main.cache=$scratch/disk/apt-p2p"
	mkdir "$scratch/disk"
	mounted "$scratch/disk"
	echo "$scratch/memory" >"$scratch/running"
	cleanup
	has reload
	has_not start-stop-daemon

	router main.cache=/mnt/sda1/apt-p2p
	echo /mnt/sda1/apt-p2p >"$scratch/running"
	cleanup
	has reload

	router
	echo "$scratch/memory" >"$scratch/running"
	cleanup
	has_not reload
	has "start-stop-daemon -S -q -c apt-p2p -p /var/run/apt-p2p-cleanup.pid -x /usr/bin/apt-p2p -- cleanup --config /dev/null --cache $scratch/memory"
}

the_command_s_third_word_is_the_cache() {
	router
	start_service
	is "$(sed -n 's/^procd_set_param command //p' "$calls" | cut -d ' ' -f 3)" "$scratch/memory"
}

a_disk_that_is_mounted_restarts_it() {
	router "main.cache=/mnt/sda1/apt-p2p"
	service_triggers
	has "procd_add_restart_mount_trigger /mnt/sda1/apt-p2p"
	has "procd_add_reload_trigger apt-p2p"
	has "procd_add_reload_interface_trigger lan"
	router
	service_triggers
	has_not mount_trigger
}

for test in as_it_comes_it_serves_the_lan_from_memory a_mounted_disk_is_used \
	memory_that_serves_no_more_is_given_back \
	the_flash_is_never_filled_while_the_disk_is_away a_root_on_a_disk_is_used_when_the_owner_says_so \
	a_folder_that_is_no_path_is_not_used a_disk_without_owners_is_written_to_by_root every_option_becomes_its_flag \
	an_option_in_a_list_s_place_is_a_list_of_its_words \
	the_peer_port_opens_only_for_the_internet_and_when_asked cron_has_one_line_and_others_stay \
	a_crontab_s_other_lines_are_none_of_ours \
	a_folder_with_other_things_is_left_alone a_time_that_cron_would_run_is_refused \
	switched_off_it_leaves_nothing_behind cleanup_runs_as_the_cache_s_owner_with_its_size \
	numbers_come_from_where_the_proxy_runs_and_leave_no_line_in_the_log luci_s_plugin_says_its_method_and_answers_it_alone \
	a_disk_that_came_or_went_unsaid_is_noticed_by_cleanup the_command_s_third_word_is_the_cache \
	a_disk_that_is_mounted_restarts_it; do
	count=${count:-0}
	$test
	count=$((count + 1))
done
[ $failed = 0 ] && echo "$count tests of the init script passed"
exit $failed
