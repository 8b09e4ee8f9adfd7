# A CGI program that says what reached it: by lighttpd's choice of the route, and
# by the variables in which programs look for the path.
use strict;
use warnings;

sub route {
	my $path = shift // '';
	return $1 if $path =~ m{^/(account|transfer|assets)(?:/|\z)};
	return $path eq '/health' ? 'health' : 'public';
}

sub text {
	my $text = shift;
	$text =~ s/([^ !#-\[\]-~])/sprintf '\\u%04x', ord $1/ge;
	return "\"$text\"";
}

sub object {
	my %of = @_;
	return '{' . join(',', map { text($_) . ':' . text($of{$_}) } sort keys %of) . '}';
}

my ($target) = split /\?/, $ENV{REQUEST_URI};
my %routes = (
	'$HTTP["url"]' => $ENV{ROUTE} // 'public',
	'PATH_INFO' => route($ENV{PATH_INFO}),
	'REQUEST_URI' => route($target),
);
my %headers = map { $_ => $ENV{$_} } grep { /^HTTP_X_VERIFIED_/ } keys %ENV;
print "Content-Type: application/json\r\n\r\n",
	'{"routes":', object(%routes), ',"headers":', object(%headers), ',"cookies":', text($ENV{HTTP_COOKIE} // ''), '}';
