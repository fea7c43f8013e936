'use strict';
'require form';
'require rpc';
'require view';

const listServices = rpc.declare({
	object: 'service',
	method: 'list',
	params: [ 'name' ],
	expect: { '': {} }
});

function isRunning(services) {
	const instances = services['apt-p2p']?.instances ?? {};
	return Object.values(instances).some(instance => instance.running);
}

/* The proxy's own page has the numbers; it stands where its first address is. */
function page(port) {
	return `http://${window.location.hostname.includes(':') ? `[${window.location.hostname}]` : window.location.hostname}:${port}/`;
}

/* What a list lets one choose: each value and its words. */
function offer(option, choices) {
	choices.forEach(([ value, words ]) => option.value(value, words));
}

return view.extend({
	load() {
		return listServices('apt-p2p').then(isRunning, () => false);
	},

	render(running) {
		const map = new form.Map('apt-p2p', _('apt-p2p'),
			_('Keeps the Debian and Ubuntu packages of this network, and fetches them from other such proxies before it bothers a mirror.'));

		const section = map.section(form.NamedSection, 'main', 'apt-p2p');
		section.tab('general', _('General'));
		section.tab('sharing', _('Sharing'));
		section.tab('mirrors', _('Mirrors'));

		let option = section.taboption('general', form.DummyValue, '_status', _('Status'));
		option.rawhtml = true;
		option.cfgvalue = function(id) {
			const first = L.toArray(this.map.data.get('apt-p2p', id, 'listen'))[0] ?? '[::]:9977';
			const port = first.replace(/^.*:/, '').replace(/\D/g, '');
			return running
				? E('a', { href: page(port), target: '_blank', rel: 'noreferrer' }, _('Running: see its page'))
				: E('em', {}, _('Not running'));
		};

		option = section.taboption('general', form.Flag, 'enabled', _('Enabled'));
		option.default = '1';
		option.rmempty = false;

		option = section.taboption('general', form.Value, 'cache', _('Cache folder'),
			_('A folder on a mounted disk, like /mnt/sda1/apt-p2p. Without one, and while the disk is away, a few megabytes of memory serve; the flash is never written to.'));
		option.placeholder = '/mnt/sda1/apt-p2p';
		option.validate = (id, value) => value === '' || value.startsWith('/') || _('A full path is needed: it begins with /');

		option = section.taboption('general', form.Flag, 'cache_on_root', _('The root is a disk'),
			_('Allows a cache folder on the root file system. On flash that would wear it out.'));
		option.depends({ cache: '', '!reverse': true });

		option = section.taboption('general', form.Value, 'max_size', _('Largest size'),
			_('Default: 80% of the disk\'s free space, at most 50G.'));
		option.placeholder = '20G';
		option.validate = (id, value) => value === '' || /^\d+[KMGT]?$/.test(value) || _('A number with K, M, G or T');

		option = section.taboption('general', form.Value, 'cleanup', _('Cleanup'),
			_('When old packages are let go, as cron writes it.'));
		option.placeholder = '0 4 * * *';
		option.validate = (id, value) => value === '' || value.trim().split(/\s+/).length === 5 || _('Five fields: minute, hour, day, month, weekday');

		option = section.taboption('general', form.DynamicList, 'listen', _('Addresses'),
			_('Where apt\'s requests are answered.'));
		option.placeholder = '[::]:9977';

		option = section.taboption('general', form.DynamicList, 'allow', _('Clients'),
			_('Who is answered. Default: this network.'));
		option.datatype = 'or(ipaddr,cidr)';
		option.placeholder = '192.168.1.0/24';

		option = section.taboption('general', form.ListValue, 'log', _('Log'));
		offer(option, [
			[ 'error', _('Errors') ],
			[ 'warn', _('Warnings') ],
			[ 'info', _('Each request') ],
			[ 'debug', _('Everything') ]
		]);
		option.default = 'warn';

		option = section.taboption('sharing', form.ListValue, 'share', _('Exchange packages'),
			_('On the Internet others can see which public packages this network has; private archives are never shared.'));
		offer(option, [
			[ 'off', _('With nobody') ],
			[ 'lan', _('With this network') ],
			[ 'internet', _('With the Internet') ]
		]);
		option.default = 'lan';

		option = section.taboption('sharing', form.Value, 'upload_rate', _('Upload limit'),
			_('Bytes a second for all on the Internet together, like 256K; this network has no limit.'));
		option.placeholder = '256K';
		option.depends('share', 'internet');

		option = section.taboption('sharing', form.Flag, 'open_port', _('Open the firewall'),
			_('Lets others reach the peer port. Without it this router downloads from peers, but gives them nothing.'));
		option.depends('share', 'internet');

		option = section.taboption('sharing', form.Value, 'peer_listen', _('Peer port'));
		option.placeholder = '[::]:9978';
		option.depends({ share: 'off', '!reverse': true });

		option = section.taboption('sharing', form.DynamicList, 'neighbour', _('Neighbours'),
			_('Other apt-p2p machines of this network, by address and port: the router asks these alone. They find it where umdns is installed.'));
		option.placeholder = '192.168.1.7:9978';
		option.depends({ share: 'off', '!reverse': true });

		option = section.taboption('sharing', form.ListValue, 'mainline', _('BitTorrent\'s DHT'),
			_('By it others on the Internet are found. Without it a node has to be named.'));
		offer(option, [
			[ 'ask', _('Asked') ],
			[ 'serve', _('Asked, and served') ],
			[ 'off', _('Not used') ]
		]);
		option.default = 'ask';
		option.depends('share', 'internet');

		option = section.taboption('sharing', form.DynamicList, 'bootstrap', _('First nodes'),
			_('Where others are looked for first. Default: the routers of BitTorrent\'s DHT.'));
		option.placeholder = 'node.example.org:9978';
		option.depends('share', 'internet');

		option = section.taboption('mirrors', form.ListValue, 'prefer', _('Spare'));
		offer(option, [
			[ 'speed', _('Time') ],
			[ 'offload', _('The mirror, or a metered line') ]
		]);
		option.default = 'speed';

		option = section.taboption('mirrors', form.ListValue, 'prefetch', _('New versions'),
			_('Of packages that were used before.'));
		offer(option, [
			[ 'off', _('Nothing until they are asked for') ],
			[ 'lookup', _('Look for peers that have them') ],
			[ 'night', _('Fetch them at night, too') ]
		]);
		option.default = 'lookup';

		option = section.taboption('mirrors', form.DynamicList, 'upstream', _('Fetch from elsewhere'),
			_('An archive as clients name it, and where it is fetched from; several for one archive stand in for one another.'));
		option.placeholder = 'archive.example.org/debian=https://mirror.example.org/debian';
		option.validate = (id, value) => value === '' || /^[^\s=]+=https?:\/\/\S+$/.test(value) || _('HOST/PATH=URL');

		option = section.taboption('mirrors', form.DynamicList, 'allow_upstream', _('Mirrors of this network'),
			_('Names, addresses or networks that are refused otherwise.'));
		option.placeholder = 'mirror.lan';

		option = section.taboption('mirrors', form.Value, 'upstream_proxy', _('Upstream proxy'),
			_('By which mirrors are reached, except those of this network.'));
		option.placeholder = 'http://proxy.example.org:3128';
		option.validate = (id, value) => value === '' || /^http:\/\/\S+:\d+\/?$/.test(value) || _('http://HOST:PORT');

		option = section.taboption('mirrors', form.DynamicList, 'allow_connect', _('Tunnels'),
			_('Hosts to which https sources of clients are led, uncached: names, *.DOMAIN, or none. Default: any public one.'));
		option.placeholder = '*.example.org';

		option = section.taboption('mirrors', form.DynamicList, 'public', _('Public archives'),
			_('Archives whose packages may be shared though their origin is no known distribution.'));
		option.placeholder = 'mirror.example.org/debian';

		return map.render();
	}
});
