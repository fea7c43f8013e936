// LuCI's loader wraps each view in a function, with what its 'require' lines name as arguments.
const given = [ 'E', 'L', '_', 'form', 'poll', 'rpc', 'view' ];

export default [ {
	files: [ '**/*.js' ],
	languageOptions: {
		ecmaVersion: 2022,
		sourceType: 'commonjs',
		parserOptions: { ecmaFeatures: { globalReturn: true } },
		globals: Object.fromEntries([ ...given, 'window' ].map(name => [ name, 'readonly' ]))
	},
	linterOptions: { reportUnusedDisableDirectives: 'error' },
	rules: {
		'no-undef': 'error',
		'no-unused-vars': 'error',
		'prefer-const': 'error',
		'eqeqeq': 'error',
		'no-var': 'error',
		'semi': 'error'
	}
} ];
