//! The parts of the page, in the order in which whoever runs the proxy asks: how does it go, how is a client added, what
//! goes on now, with whom is it shared, what went wrong.

use super::text::{Cut, Escaped, ago, grouped, several};
use super::{CLIENT_FILE, Page};
use crate::limits::{ARCHIVES_SHOWN, FLIGHTS_SHOWN, NAME_SHOWN_LEN, SIGNED_SHOWN_LEN, TROUBLES_SHOWN};
use crate::report::{Archive, Flight, Numbers, amount, counted, scaled, time};

/// The numbers that matter most.
pub(super) fn glance(page: &mut Page, numbers: &Numbers) {
    let (saved, all) = (numbers.saved(), numbers.bytes_sent());
    page.put("<dl class=\"tiles wide\"><div><dt>Saved since the start<dd class=big>");
    let of = match all {
        0 => "No client has asked for anything yet".to_owned(),
        all => format!("of the {} that clients got came from no mirror", amount(all)),
    };
    let percent = scaled(saved, all, 100);
    page.add(format_args!("{} <span>{percent}%</span><dd class=soft>{of}</div>", amount(saved)));
    let from_cache = numbers.hits.count + numbers.joined.count;
    page.add(format_args!(
        "<div><dt>Given to clients<dd class=big>{}<dd class=soft>{}, {} of them without a download of their own</div>",
        amount(numbers.bytes_sent()),
        several(numbers.requests, "request", "requests"),
        grouped(from_cache)
    ));
    disk(page, numbers);
    page.put("<div><dt>Exchanged with peers<dd class=big>");
    match numbers.bytes_to_peers {
        Some(given) => page.add(format_args!(
            "{}<dd class=soft>got from peers; {} given to them</div>",
            amount(numbers.bytes_from_neighbours.saturating_add(numbers.bytes_from_strangers)),
            amount(given)
        )),
        None => page.put("Off<dd class=soft>Nothing is shared</div>"),
    }
    page.put("</dl>");
}

fn disk(page: &mut Page, numbers: &Numbers) {
    page.put("<div><dt>Kept on the disk<dd class=big>");
    let Some((files, bytes)) = numbers.stored else {
        page.put("Nothing<dd class=soft>The cache folder cannot be used</div>");
        return;
    };
    let files = several(files, "file", "files");
    page.add(format_args!("{}", amount(bytes)));
    if numbers.bytes_max < u64::MAX {
        let used = bytes.min(numbers.bytes_max);
        page.add(format_args!(
            "<dd><progress aria-label=\"Of the cache's size\" value={used} max={}></progress><dd class=soft>of at most {}, in {files}",
            numbers.bytes_max.max(1),
            amount(numbers.bytes_max)
        ));
    } else {
        page.add(format_args!("<dd class=soft>in {files}"));
    }
    match numbers.bytes_free {
        Some(free) => page.add(format_args!("; {} free</div>", amount(free))),
        None => page.put("</div>"),
    }
}

/// How a client is added, and how that is undone.
pub(super) fn clients(page: &mut Page, address: &str) {
    // Without one it is port 80 to apt, and 9977 to what looks for a proxy.
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let with_port = if has_port { address.to_owned() } else { format!("{address}:80") };
    let (address, with_port) = (Escaped(address), Escaped(&with_port));
    page.add(format_args!(
        "<section class=right aria-labelledby=add><h2 id=add>Add a machine</h2>\
         <p>Run this on it; a click selects the line:\
         <pre>echo 'Acquire::http::Proxy \"http://{address}\";' | sudo tee {CLIENT_FILE}</pre>\
         <p>From then on its <code>apt</code> comes here. It changes nothing else, and apt still checks every signature. The same as \
         a file: <a href=/client.conf>client.conf</a>.\
         <h3>To undo it</h3><pre>sudo rm {CLIENT_FILE}</pre>\
         <details><summary>Laptops, and single archives</summary>\
         <p>With that line apt fails where this proxy is away. A machine that travels had better find it, and go to the mirrors where \
         there is none: in place of the line it gets the package <code>apt-p2p-client</code>, and this proxy's name.\
         <pre>sudo apt install ./apt-p2p-client_*.deb</pre>\
         <pre>echo {with_port} | sudo tee /etc/apt/apt-p2p-hosts</pre>\
         <p><code>auto-apt-proxy</code> and, on Ubuntu, <code>squid-deb-proxy-client</code> can find it, too.\
         <p>For one archive alone, put this address before its host in the sources:\
         <pre>deb http://{address}/mirror.example.org/debian stable main</pre></details></section>"
    ));
}

/// What is being fetched.
pub(super) fn downloads(page: &mut Page, numbers: &Numbers) {
    page.put("<section class=left aria-labelledby=now><h2 id=now>Being downloaded now</h2>");
    if numbers.flights.is_empty() {
        page.put("<p class=soft>Nothing at this moment.</section>");
        return;
    }
    page.put("<ul class=list>");
    numbers.flights.iter().take(FLIGHTS_SHOWN).for_each(|it| flight(page, it));
    page.put("</ul>");
    let shown = numbers.flights.len().min(FLIGHTS_SHOWN);
    if numbers.downloads > shown {
        page.add(format_args!("<p class=soft>and {} more", numbers.downloads - shown));
    }
    page.put("</section>");
}

fn flight(page: &mut Page, flight: &Flight) {
    let (dir, file) = flight.name.rsplit_once('/').unwrap_or(("", &flight.name));
    let (dir, file) = (Cut(dir, NAME_SHOWN_LEN), Cut(file, NAME_SHOWN_LEN));
    page.add(format_args!("<li><div class=name><b>{file}</b><small>{dir}</small></div>"));
    match flight.len {
        Some(len) if len > 0 => page.add(format_args!(
            "<progress aria-label=\"{file}\" value={} max={len}></progress><div class=\"row soft\"><span>{} of {}, {}%</span>",
            flight.here,
            amount(flight.here),
            amount(len),
            scaled(flight.here, len, 100)
        )),
        _ => page.add(format_args!(
            "<progress aria-label=\"{file}\"></progress><div class=\"row soft\"><span>{}</span>",
            amount(flight.here)
        )),
    }
    page.put("<span>");
    if flight.is_waiting {
        page.put("waits for its turn");
    } else {
        page.add(format_args!("{}/s", amount(flight.rate)));
        let left = flight.len.and_then(|len| len.saturating_sub(flight.here).checked_div(flight.rate));
        if let Some(left) = left.filter(|left| *left > 0) {
            page.add(format_args!(", {} left", time(std::time::Duration::from_secs(left))));
        }
        if flight.from_peers > 0 {
            page.add(format_args!(", {} from peers", amount(flight.from_peers)));
        }
    }
    page.put("</span></div>");
}

/// With whom, the one switch for it, and how it goes.
pub(super) fn sharing(page: &mut Page, numbers: &Numbers) {
    let sharing = &numbers.sharing;
    page.put("<section class=right aria-labelledby=share><h2 id=share>");
    let (title, means, others) = match sharing.with {
        "internet" => (
            "Shared with the Internet",
            "What is stored of public archives, and nothing else, is given to other machines that run apt-p2p, and theirs is taken. \
             They can see which of these packages this address has and asks for.",
            ["lan", "off"],
        ),
        "lan" => (
            "Shared with this LAN alone",
            "Other proxies of this network take from here what is stored of public archives, and give theirs. Nobody else does.",
            ["internet", "off"],
        ),
        _ => (
            "Shared with nobody",
            "Everything comes from the mirrors, and no other proxy is asked or served.",
            ["internet", "lan"],
        ),
    };
    page.add(format_args!("{title}</h2><p>{means}"));
    if sharing.with != "off" {
        peers(page, numbers);
    }
    let [first, second] = others;
    page.add(format_args!(
        "<h3>The switch</h3><pre>share = \"{first}\"</pre><p class=soft>or <code>\"{second}\"</code>, in \
         <code>/etc/apt-p2p.toml</code>, then restart apt-p2p. On OpenWrt it stands in LuCI.</section>"
    ));
}

fn peers(page: &mut Page, numbers: &Numbers) {
    let sharing = &numbers.sharing;
    let neighbours = counted(sharing.neighbours, "other proxy", "other proxies");
    page.add(format_args!("<dl class=pairs><dt>On this LAN<dd>{neighbours}"));
    page.add(format_args!("<dt>Connected now<dd>{}", counted(sharing.connections, "peer", "peers")));
    if numbers.liars > 0 {
        page.add(format_args!(
            "<dt>Sent lies<dd>{}: found out, and asked no more",
            several(numbers.liars, "peer", "peers")
        ));
    }
    let Some(dht) = &sharing.dht else {
        page.put("</dl>");
        return;
    };
    page.put("<dt>Reached<dd>");
    for (at, (family, reached, _)) in dht.families.iter().enumerate() {
        let answer = match reached {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not known yet",
        };
        let name = if *family == "ipv4" { "IPv4" } else { "IPv6" };
        page.add(format_args!("{}{answer} by {name}", if at == 0 { "" } else { "; " }));
    }
    let contacts: usize = dht.families.iter().map(|(_, _, contacts)| contacts).sum();
    page.put("<dt>DHT<dd>");
    match contacts {
        0 => page.put("no node answers yet"),
        _ => page.add(format_args!("well, {}", counted(contacts, "node known", "nodes known"))),
    }
    page.add(format_args!(
        "<dt>Others find<dd>{} of {} files<dt>Costs<dd>{} a day</dl>",
        grouped(dht.files.1 as u64),
        grouped(dht.files.0 as u64),
        amount(dht.bytes_a_day)
    ));
    let is_closed = |(_, reached, _): &(&str, Option<bool>, usize)| *reached == Some(false);
    if dht.families.iter().any(is_closed) && !dht.families.iter().any(|(_, reached, _)| *reached == Some(true)) {
        page.put("<p class=soft>The router lets nobody in: others are asked, and cannot ask.");
        // Without one, what is wrong stands at the top.
        if let Some(port) = sharing.port {
            page.add(format_args!(" Forward port {port}, TCP and UDP, to this machine to change that."));
        }
    }
}

/// What went wrong, and what to do.
pub(super) fn troubles(page: &mut Page, numbers: &Numbers) {
    page.put("<section class=wide aria-labelledby=bad><h2 id=bad>Troubles lately</h2>");
    if numbers.troubles.is_empty() {
        page.put("<p class=soft>None since the start.</section>");
        return;
    }
    page.put("<ul class=list>");
    for trouble in numbers.troubles.iter().take(TROUBLES_SHOWN) {
        let times = if trouble.count > 1 { format!(", {} times", grouped(trouble.count)) } else { String::new() };
        let when = ago(numbers.now.secs_since(trouble.last));
        page.add(format_args!("<li class=name>{} <small>{when}{times}</small>", Cut(&trouble.what, 400)));
        if let Some(advice) = trouble.advice() {
            page.add(format_args!("<p class=soft>{advice}"));
        }
    }
    page.put("</ul></section>");
}

/// Which archives are served.
pub(super) fn archives(page: &mut Page, numbers: &Numbers) {
    page.put("<section class=wide aria-labelledby=archives><h2 id=archives>Archives</h2>");
    if numbers.archives.is_empty() {
        page.put("<p class=soft>None yet: they are learnt when a client runs <code>apt update</code>.</section>");
        return;
    }
    page.put(
        "<table><thead><tr><th scope=col>Archive and suite<th scope=col>Released<th scope=col>Mirror away<tbody>",
    );
    numbers.archives.iter().take(ARCHIVES_SHOWN).for_each(|it| archive(page, it, numbers));
    page.put("</table>");
    let shown = numbers.archives.len().min(ARCHIVES_SHOWN);
    if numbers.archives_known > shown {
        page.add(format_args!("<p class=soft>and {} more", numbers.archives_known - shown));
    }
    page.put("</section>");
}

fn archive(page: &mut Page, archive: &Archive, numbers: &Numbers) {
    let (name, suite) = match archive.name.split_once("/dists/") {
        Some((name, suite)) => (name, suite),
        None => (archive.name.trim_end_matches('/'), "flat"),
    };
    page.add(format_args!("<tr><th scope=row>{} <b>{}</b>", Cut(name, NAME_SHOWN_LEN), Cut(suite, NAME_SHOWN_LEN)));
    if let Some(signed) = &archive.signed {
        page.add(format_args!("<br><span class=soft>{}</span>", Cut(signed, SIGNED_SHOWN_LEN)));
    }
    page.put("<td>");
    match archive.date.0 {
        0 => page.put("no date"),
        _ => page.add(format_args!("{}", ago(numbers.now.secs_since(archive.date)))),
    }
    page.put(if archive.is_whole { "<td>still served" } else { "<td>not all here" });
}
