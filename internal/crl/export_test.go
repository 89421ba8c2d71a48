package crl

// ParseUnsigned is Parse for lists that nobody has signed.
func ParseUnsigned(der []byte) (*List, error) {
	_, entries, head, err := split(der)
	if err != nil {
		return nil, err
	}
	for _, e := range head.Extensions {
		if e.Id.Equal(oidIssuingDistributionPoint) {
			if _, err := parseScope(e.Value); err != nil {
				return nil, err
			}
		}
	}
	return &List{entries: entries}, nil
}
