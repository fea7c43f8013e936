'use strict';
'require poll';
'require rpc';
'require view';

const askProxy = rpc.declare({
	object: 'luci.apt-p2p',
	method: 'status',
	expect: { '': {} }
});

/* Null if it does not run. */
function ask() {
	return askProxy().then(numbers => 'requests' in numbers ? numbers : null, () => null);
}

/* 1024 a step, as the proxy itself counts; '-' for what there is not. */
function size(bytes) {
	if (bytes === null || bytes === undefined)
		return '-';
	const units = [ 'B', 'KB', 'MB', 'GB', 'TB' ];
	let step = 0;
	while (bytes >= 1024 && step < units.length - 1) {
		bytes /= 1024;
		step++;
	}
	return `${step > 0 && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[step]}`;
}

function age(seconds) {
	const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
	return days > 0 ? _('%d days, %d hours').format(days, hours) : _('%d hours, %d minutes').format(hours, minutes);
}

function share(part, whole) {
	return whole > 0 ? ` (${Math.round(100 * part / whole)}%)` : '';
}

function rows(numbers) {
	const saved = numbers.bytes_saved;
	return [
		[ _('Running for'), age(numbers.uptime_s) ],
		[ _('Requests answered'), _('%d, from %d connections now').format(numbers.requests, numbers.connections) ],
		[ _('Sent to clients'), size(numbers.bytes_sent) ],
		[ _('Saved the mirrors'), size(saved) + share(saved, numbers.bytes_sent) ],
		[ _('Fetched from mirrors'), size(numbers.bytes_from_mirrors) ],
		[ _('Fetched on this network'), size(numbers.bytes_from_neighbours) ],
		[ _('Fetched from the Internet\'s peers'), size(numbers.bytes_from_strangers) ],
		[ _('Given to peers'), size(numbers.bytes_to_peers) ],
		[ _('Peers that sent false bytes'), String(numbers.liars ?? '-') ],
		[ _('Downloads now'), String(numbers.downloads) ],
		[ _('On the disk'), _('%s of at most %s, %s files').format(size(numbers.bytes_stored), size(numbers.bytes_max), numbers.files ?? '-') ],
		[ _('Archives'), (numbers.archives ?? []).map((archive) => archive.name).join(', ') || '-' ]
	];
}

function table(numbers) {
	if (numbers === null)
		return E('p', { class: 'alert-message warning' }, _('It does not run, or does not answer.'));
	return E('div', {}, [
		...(numbers.problems ?? []).map(problem => E('p', { class: 'alert-message warning' }, problem)),
		E('table', { class: 'table' }, rows(numbers).map(([ name, value ]) => E('tr', { class: 'tr' }, [
			E('td', { class: 'td left', width: '33%' }, name),
			E('td', { class: 'td left' }, value)
		])))
	]);
}

return view.extend({
	load: ask,

	render(numbers) {
		const shown = E('div', { class: 'cbi-section' }, table(numbers));
		poll.add(() => ask().then(now => shown.replaceChildren(table(now))), 5);
		return E('div', {}, [ E('h2', {}, _('apt-p2p')), shown ]);
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
