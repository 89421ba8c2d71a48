package spec

import (
	"encoding/json"
)

// A schema is a JSON Schema (draft 7), or the part of one that describes a value.
type schema struct {
	Version              string            `json:"$schema,omitempty"`
	Title                string            `json:"title,omitempty"`
	Description          string            `json:"description,omitempty"`
	Type                 any               `json:"type,omitempty"` // one type, or a list of them
	Enum                 []any             `json:"enum,omitempty"`
	Pattern              string            `json:"pattern,omitempty"`             // in what RE2 and ECMAScript have in common
	PatternErrorMessage  string            `json:"patternErrorMessage,omitempty"` // which the YAML language server shows
	Minimum              *int              `json:"minimum,omitempty"`
	Maximum              *int              `json:"maximum,omitempty"`
	Items                *schema           `json:"items,omitempty"`
	MinItems             int               `json:"minItems,omitempty"`
	MaxItems             int               `json:"maxItems,omitempty"`
	Properties           map[string]schema `json:"properties,omitempty"`
	PropertyNames        *schema           `json:"propertyNames,omitempty"`
	AdditionalProperties any               `json:"additionalProperties,omitempty"` // false, or a schema
	MaxProperties        *int              `json:"maxProperties,omitempty"`
	Required             []string          `json:"required,omitempty"`
	AnyOf                []schema          `json:"anyOf,omitempty"`
}

// Schema returns the JSON Schema of a sort of file: "certificate", "config", "dns", "issuer" or "sectigo"; false for any other. It is
// made of the tables by which those files are read. A file that is accepted conforms to it; one that conforms may still
// be refused, for some rules are beyond a schema.
func Schema(sort string) (text []byte, ok bool) {
	var s schema
	switch sort {
	case "certificate":
		s = certificateKind.schema
		s.Title = "A file of certs.d: a certificate"
	case "config":
		s = configKind.schema
		s.Title = "acmed.yaml: the daemon"
	case "dns":
		s = providerKind.schema
		s.Title = "A file of dns.d: a way to write DNS records"
	case "issuer":
		s = issuerKind.schema
		s.Title = "A file of issuers.d: a CA"
	case "sectigo":
		s = sectigoKind.schema
		s.Title = "sectigo.yaml: how acmed sectigo asks Sectigo Certificate Manager"
	default:
		return nil, false
	}
	s.Version = "http://json-schema.org/draft-07/schema#"
	s.Type = []string{"object", "null"} // an empty file says nothing
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err == nil
}

// scalarSchema describes a plain value with one YAML tag.
func scalarSchema(tag string) schema {
	types := map[string]string{"!!str": "string", "!!int": "integer", "!!bool": "boolean"}
	return schema{Type: types[tag]}
}

func listSchema(what string, each schema) schema {
	each.Description = what
	return schema{Type: "array", Items: &each}
}

func objectSchema[T any](fields []field[T]) schema {
	s := schema{Type: "object", AdditionalProperties: false, Properties: map[string]schema{}}
	for _, f := range fields {
		s.Properties[f.name] = f.schema
		if f.need != "" {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// orEmpty makes what an object needs dispensable where it says nothing at all.
func (s schema) orEmpty() schema {
	if len(s.Required) > 0 {
		s.AnyOf = []schema{{MaxProperties: new(int)}, {Required: s.Required}}
		s.Required = nil
	}
	return s
}

// like tells editors what a string looks like. The pattern must hold for all that k reads.
func like[T any](pattern string, k kind[T]) kind[T] {
	k.schema.Pattern, k.schema.PatternErrorMessage = pattern, "expected "+k.what
	return k
}

// among tells editors the only values that k reads.
func among[T, V any](values []V, k kind[T]) kind[T] {
	k.schema.Enum = make([]any, len(values))
	for i, v := range values {
		k.schema.Enum[i] = v
	}
	return k
}

// sized tells editors how long a list may be; most 0: of any length.
func sized[T any](least, most int, k kind[T]) kind[T] {
	k.schema.MinItems, k.schema.MaxItems = least, most
	return k
}

// ranging tells editors the range of a number.
func ranging[T any](least, most int, k kind[T]) kind[T] {
	k.schema.Minimum, k.schema.Maximum = &least, &most
	return k
}
