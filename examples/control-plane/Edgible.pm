# All documents of a device as one answer, with a tag that says whether anything changed.
package Edgible;

use strict;
use warnings;
use Errno;
use Digest::SHA qw(sha256_hex);
use nginx;

sub applications {
    my $r = shift;
    return HTTP_NOT_ALLOWED if $r->request_method ne 'GET' && $r->request_method ne 'HEAD';
    opendir(my $folder, $r->variable('edgible_folder')) or return HTTP_NOT_FOUND;
    my @names = sort grep { /^[^.].*\.(yaml|yml|json)$/ } readdir($folder);
    closedir($folder);

    my @documents;
    for my $name (@names) {
        my $path = $r->variable('edgible_folder') . "/$name";
        my $file;
        if (!open($file, '<:raw', $path)) {
            next if $!{ENOENT};    # removed just now
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        local $/;
        my $text = <$file>;
        push @documents, $text =~ /\n\z/ ? $text : "$text\n";
    }
    my $body = @documents ? join("---\n", @documents) : "[]\n";
    my $etag = '"' . substr(sha256_hex($body), 0, 32) . '"';

    $r->header_out('ETag', $etag);
    if (($r->header_in('If-None-Match') // '') eq $etag) {
        $r->status(304);
        $r->send_http_header;
        return OK;
    }
    $r->header_out('Content-Length', length $body);
    $r->send_http_header('application/yaml');
    $r->print($body) unless $r->header_only;
    return OK;
}

1;
