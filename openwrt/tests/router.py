"""An emulated router: Debian's kernel for the Malta board, a busybox, and our binary."""

import http.client
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from archive import isolated, source_of_this_machine

# The network card and the disk of the emulator, and the file system; with what they need, in an order that works.
MODULES = ["virtio_pci", "virtio_net", "virtio_blk", "crc32c_generic", "ext4"]
PORTS = {9977: "port", 9978: "peer_port", 8080: "figures_port"}
MEMORY = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
cat /proc/$(cat /tmp/pid)/smaps_rollup /proc/$(cat /tmp/pid)/status /proc/meminfo
"""
# Debian's busybox has 32 bits for the time, and ends where they do: the clock is set behind its back.
CLOCK = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    struct timespec time = {.tv_sec = atoll(words[1])};
    FILE *pid = fopen("/tmp/pid", "w");
    fprintf(pid, "%d", getpid());
    fclose(pid);
    if (time.tv_sec > 0 && clock_settime(CLOCK_REALTIME, &time)) return 126;
    execv(words[2], words + 2);
    return 127;
}
"""


def kernel(kept):
    """Unpacks kernel, modules and busybox from Debian's archive for mipsel."""
    root = kept / "mipsel"
    if (root / "complete").exists():
        return
    folder = kept / "apt-mipsel"
    for part in ["etc/sources.list.d", "etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"]:
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "apt.conf").write_text(isolated(folder, "mipsel"))
    (folder / "etc/sources.list").write_text(mipsel_source())
    environment = os.environ | {"APT_CONFIG": str(folder / "apt.conf")}

    def run(*words):
        return subprocess.run(words, env=environment, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout

    run("apt-get", "-qq", "update")
    name = re.search(r"linux-image-\d+\.\S+", run("apt-cache", "depends", "linux-image-4kc-malta"))[0]
    run("apt-get", "-qq", "download", name, "busybox-static")
    shutil.rmtree(root, ignore_errors=True)
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "-x", package, root)
    (root / "complete").touch()


def mipsel_source():
    """Debian 12 is the last with kernels for it."""
    keys = sorted(str(key) for key in Path("/usr/share/keyrings").glob("debian-archive-*.gpg") if "removed" not in key.name)
    return f"deb [signed-by={','.join(keys)}] {source_of_this_machine()[0]} bookworm main\n"


def module_order(modules):
    """Their files, each behind what it depends on, as it says itself."""
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order = []

    def add(name):
        path = files.get(name)
        if path is None or path in order:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in filter(None, found[1].decode().split(",")):
            add(other.replace("-", "_"))
        order.append(path)

    for name in MODULES:
        add(name)
    return order


def clock_program(kept):
    """Compiled with what openwrt/cross has fetched."""
    tools, program = kept.parent / "cross", kept / "at-time"
    if not program.exists():
        (kept / "at-time.c").write_text(CLOCK)
        subprocess.run([tools / "venv/bin/python", "-m", "ziglang", "cc", "-target", "mipsel-linux-musleabi", "-static",
                        kept / "at-time.c", "-o", program], env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tools / "zig")}, check=True)
    return program


def image(kept, binary, arguments, clock):
    """The first file system: everything that runs there. `clock` in seconds since 1970; 0 leaves it."""
    root, target = kept / "mipsel", kept / "initrd"
    shutil.rmtree(target, ignore_errors=True)
    for folder in ["bin", "proc", "sys", "dev", "run", "lib", "mnt", "www/cgi-bin", "tmp"]:
        (target / folder).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", target / "bin/busybox")
    shutil.copy(binary, target / "bin/apt-p2p")
    shutil.copy(clock_program(kept), target / "bin/at-time")
    order = module_order(next((root / "lib/modules").iterdir()))
    for path in order:
        shutil.copy(path, target / "lib")
    (target / "www/cgi-bin/memory").write_text(MEMORY)
    (target / "www/cgi-bin/stop").write_text("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nkill $(cat /tmp/pid)\n")
    (target / "init").write_text(f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
echo 4 > /proc/sys/kernel/printk
for module in {' '.join(path.name for path in order)}; do insmod /lib/$module; rm /lib/$module; done
mount -t ext4 /dev/vda /mnt
mount -o remount,noatime /; mount -o remount,noatime /tmp
ifconfig lo 127.0.0.1 up; ifconfig eth0 10.0.2.15 up; route add default gw 10.0.2.2
httpd -p 8080 -h /www
ulimit -n 4096
RUST_LOG=info at-time {clock} /bin/apt-p2p --config /dev/null --listen 0.0.0.0:9977 --peer-listen 0.0.0.0:9978 --cache /mnt/apt-p2p {' '.join(arguments)}
status=$?
[ $status = 0 ] || dmesg | tail -n 12
echo "ENDED with $status"
umount /mnt
poweroff -f
""")
    for path in [target / "init", *target.glob("www/cgi-bin/*"), target / "bin/busybox", target / "bin/apt-p2p", target / "bin/at-time"]:
        path.chmod(0o755)
    with (kept / "initrd.gz").open("wb") as out:
        names = "\n".join(str(path.relative_to(target)) for path in sorted(target.rglob("*")))
        packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=target, input=names.encode(), check=True,
                                stdout=subprocess.PIPE).stdout
        subprocess.run(["gzip", "-1"], input=packed, stdout=out, check=True)
    return next((root / "boot").glob("vmlinuz-*")), kept / "initrd.gz"


class Router:
    """One that runs. `memory` in MB."""

    def __init__(self, kept, binary, memory, disk, arguments, clock=0):
        self.port, self.peer_port, self.figures_port = 19977, 19978, 18080
        linux, initrd = image(kept, binary, arguments, clock)
        forward = ",".join(f"hostfwd=tcp:127.0.0.1:{getattr(self, name)}-:{port}" for port, name in PORTS.items())
        self.log = Path(str(disk) + f".{memory}.log")
        self.process = subprocess.Popen(
            ["qemu-system-mipsel", "-M", "malta", "-cpu", "24Kc", "-m", str(memory), "-vga", "none", "-nographic", "-no-reboot",
             # Where a kernel puts itself by chance lies, in 48 MB, now and then the first file system.
             "-kernel", linux, "-initrd", initrd, "-append", "console=ttyS0 rdinit=/init panic=1 nokaslr",
             # What the machine wants of a device is done by the thread that runs it: left to another one (ioeventfd), a request of
             # the disk was lost now and then while much else ran, and the router stood still.
             "-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net,romfile=,ioeventfd=off",
             "-drive", f"file={disk},format=raw,if=none,id=disk,cache=unsafe",
             "-device", "virtio-blk-pci,drive=disk,ioeventfd=off"],
            stdin=subprocess.DEVNULL, stdout=self.log.open("wb"), stderr=subprocess.STDOUT)

    def text(self):
        return self.log.read_text(errors="replace")

    def line_with(self, words):
        return next((line.strip() for line in self.text().splitlines() if words in line), "")

    def wait_for(self, words, seconds=90):
        end = time.monotonic() + seconds
        while words not in self.text():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"failed: the router never says {words!r}:\n{self.text()[-3000:]}")
            time.sleep(0.2)

    def numbers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.figures_port, timeout=60)
        connection.request("GET", "/cgi-bin/memory")
        text = connection.getresponse().read().decode()
        connection.close()
        return {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+)", text, re.M)}

    def private_kb(self):
        """Anonymous memory of the process alone: what it costs the machine. Pages of the index and of the program are the
        kernel's to take back."""
        return self.numbers()["Anonymous"]

    def figures(self):
        numbers = self.numbers()
        return (f"most resident, files' pages with it, {numbers['VmHWM']} KB, {numbers['Threads']} threads, "
                f"{numbers['MemAvailable']} KB of the machine available")

    def end(self):
        """SIGTERM; it must end well, and nothing may have gone wrong in the machine."""
        connection = http.client.HTTPConnection("127.0.0.1", self.figures_port, timeout=60)
        connection.request("GET", "/cgi-bin/stop")
        connection.getresponse().read()
        self.wait_for("ENDED with ", 30)
        text = self.text()
        if "ENDED with 0" not in text or "Out of memory" in text or "Oops" in text:
            raise SystemExit(f"failed: it did not end well:\n{text[-3000:]}")
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait()
