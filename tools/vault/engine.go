package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
)

// engine is the PKI engine as an HTTP handler. The path of a request is the path below the mount.
type engine struct {
	backend logical.Backend
	storage logical.Storage
}

// ServeHTTP logs each request with the status of its response, so that a test can count them.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, err := e.serve(w, r)
	fmt.Fprintln(os.Stderr, r.Method, r.URL.Path, status, err)
}

func (e *engine) serve(w http.ResponseWriter, r *http.Request) (int, error) {
	req, err := e.request(r)
	if err != nil {
		respond(w, http.StatusBadRequest, map[string]any{"errors": []string{err.Error()}})
		return http.StatusBadRequest, err
	}
	// A validation that this request begins must not end with the connection.
	ctx := namespace.RootContext(context.WithoutCancel(r.Context()))
	resp, err := e.backend.HandleRequest(ctx, req)
	status, err := logical.RespondErrorCommon(req, resp, err)
	switch {
	case err != nil:
		respond(w, status, map[string]any{"errors": []string{err.Error()}})
	case resp == nil:
		status = http.StatusNoContent
		w.WriteHeader(status)
	case resp.Data[logical.HTTPStatusCode] != nil:
		return respondRaw(w, resp)
	default:
		status = http.StatusOK
		respond(w, status, map[string]any{"data": resp.Data, "warnings": resp.Warnings})
	}
	return status, err
}

// operation returns the operation of Vault's API for an HTTP method.
func operation(method string) (logical.Operation, error) {
	switch method {
	case http.MethodGet:
		return logical.ReadOperation, nil
	case http.MethodHead:
		return logical.HeaderOperation, nil
	case http.MethodPost, http.MethodPut:
		return logical.UpdateOperation, nil
	case http.MethodDelete:
		return logical.DeleteOperation, nil
	case "LIST":
		return logical.ListOperation, nil
	}
	return "", fmt.Errorf("method %s: unsupported", method)
}

func (e *engine) request(r *http.Request) (*logical.Request, error) {
	op, err := operation(r.Method)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	if op == logical.UpdateOperation {
		if err := json.NewDecoder(r.Body).Decode(&data); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("parsing JSON: %w", err)
		}
	}
	return &logical.Request{
		Operation: op, Path: r.URL.Path, Data: data, Storage: e.storage, MountPoint: "pki/", MountType: "pki",
		Headers: r.Header, HTTPRequest: r, Connection: &logical.Connection{RemoteAddr: r.RemoteAddr},
	}, nil
}

// respondRaw writes a response whose body the engine has made, and returns its status.
func respondRaw(w http.ResponseWriter, resp *logical.Response) (int, error) {
	status, ok := resp.Data[logical.HTTPStatusCode].(int)
	if !ok {
		return 0, fmt.Errorf("writing a response: status %v is no number", resp.Data[logical.HTTPStatusCode])
	}
	for name, values := range resp.Headers {
		for _, value := range values {
			w.Header().Add(name, value)
		}
	}
	if kind, ok := resp.Data[logical.HTTPContentType].(string); ok && kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(status)
	var err error
	switch body := resp.Data[logical.HTTPRawBody].(type) {
	case []byte:
		_, err = w.Write(body)
	case string:
		_, err = io.WriteString(w, body)
	}
	return status, err
}

func respond(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the only error is that the client is gone
}
