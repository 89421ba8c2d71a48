package acl

// Parse is parse.
var Parse = parse
